# One image for every process: `docker run unroll-server api|worker|migrate|key|doctor`.
#
#   docker build -t unroll-server .                                        PyTorch as pip finds it by default
#   docker build -t unroll-server --build-arg TORCH_INDEX=<address> .      another build of PyTorch
#
# On x86 Linux pip's default PyTorch brings CUDA's libraries (gigabytes). The CPU build is ten times smaller and all
# that an API or a CPU worker needs: give the address of the CPU index, which PyTorch's "Get started" page names. The
# version is constraints.txt's in every case.

FROM python:3.11-slim AS build
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The native kernel is compiled here; what it is linked to is in the image that it is copied to.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/unroll
WORKDIR /src

# torch first and alone: its layer is large and changes only with the constraints.
COPY constraints.txt ./
RUN /opt/unroll/bin/pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch

COPY sdk ./sdk
COPY pyproject.toml hatch_build.py LICENSE ./
COPY rnn ./rnn
COPY store ./store
COPY worker ./worker
COPY api ./api
COPY migrations ./migrations
RUN /opt/unroll/bin/pip install -c constraints.txt "./sdk[cli]" .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/unroll unroll
COPY --from=build /opt/unroll /opt/unroll
ENV PATH=/opt/unroll/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    UNROLL_DATA_DIR=/var/lib/unroll \
    UNROLL_HOST=0.0.0.0 \
    UNROLL_PORT=8000
USER unroll
WORKDIR /var/lib/unroll
EXPOSE 8000
# Ready means: the database answers and has this version's tables. Only the API serves it; docker-compose.yml turns
# the check off for the others.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['UNROLL_PORT']}/readyz\", timeout=2)"]
# Exec form, so that SIGTERM reaches the process that drains.
ENTRYPOINT ["unroll-server"]
CMD ["api"]
