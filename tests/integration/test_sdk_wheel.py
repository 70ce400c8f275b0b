"""What a user gets who installs the SDK alone: built as a wheel, installed into an empty environment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# reads the names of what is installed, whatever can be imported by accident from elsewhere
INSTALLED = "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "sdk"
    shutil.copytree(ROOT / "sdk", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "dist", "build"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True, text=True, timeout=110)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    pinned = ["-c", str(constraints)] if constraints.is_file() else []
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pinned, str(wheel)]
    installed = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=300)
    assert installed.returncode == 0, installed.stderr
    return interpreter


def run(python: Path, code: str) -> str:
    # -I: neither PYTHONPATH nor the working folder; what is found is what was installed
    ended = subprocess.run([str(python), "-I", "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_the_wheel_holds_the_package_its_types_and_nothing_of_the_server(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"unroll/py.typed", "unroll/client.py", "unroll/contract/jobs.py", "unroll/cli/app.py"} <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"unroll"}


@pytest.mark.timeout(400)
def test_the_sdk_alone_brings_neither_torch_nor_a_web_framework_nor_a_database(python: Path) -> None:
    installed = set(json.loads(run(python, INSTALLED)))
    assert {"unroll-sdk", "pydantic", "httpx2", "numpy"} <= installed
    assert not installed & {"torch", "fastapi", "starlette", "sqlalchemy", "celery", "redis", "pandas", "typer", "rich"}


@pytest.mark.timeout(400)
def test_the_sdk_alone_works(python: Path) -> None:
    code = """
import unroll
client = unroll.Client("http://127.0.0.1:9", attempts=1)
assert not client.alive()
try:
    client.me()
except unroll.APIConnectionError as error:
    print("refused:", error)
"""
    assert run(python, code).startswith("refused: http://127.0.0.1:9")


@pytest.mark.timeout(400)
def test_the_command_alone_says_which_extra_it_needs(python: Path) -> None:
    ended = subprocess.run(
        [str(python.parent / "unroll"), "jobs"], check=False, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert "unroll-sdk[cli]" in ended.stderr
