"""The Open Inference Protocol (KServe v2), which Triton's, KServe's and other clients speak, over what predict does.

A request is JSON, or JSON followed by raw tensors (the binary tensor extension); an answer has the form that was asked
for. Protocol: https://github.com/kserve/open-inference-protocol. Binary and sequence extensions: the Triton Inference
Server's documentation, extension_binary_data.md and extension_sequence.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic_core import to_json

from api.errors import Refused, invalid
from api.inference import Array
from api.validation import validate
from unroll.contract import Network

HEADER_LENGTH = "Inference-Header-Content-Length"
DTYPES: dict[str, str] = {
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
}
EXTENSIONS = ["binary_tensor_data", "sequence"]
MOST_VALUES = 1_000_000
Parameter = StrictBool | StrictInt | float | StrictStr | None


class Part(BaseModel):
    """What every object of the protocol allows: parameters, and fields of extensions that are not known."""

    model_config = ConfigDict(extra="ignore")

    parameters: dict[str, Parameter] = {}


class Input(Part):
    """A tensor that is sent."""

    name: str
    shape: Annotated[list[Annotated[StrictInt, Field(ge=0, le=MOST_VALUES)]], Field(max_length=4)]
    datatype: str
    data: list[Any] | None = None


class Output(Part):
    """A tensor that is asked for."""

    name: Literal["outputs", "hidden"]


class InferRequest(Part):
    """What an infer request says."""

    id: str | None = None
    inputs: Annotated[list[Input], Field(min_length=1, max_length=8)]
    outputs: list[Output] | None = None


def read(content: bytes, header_length: str | None) -> tuple[InferRequest, dict[str, Array]]:
    """Return the request and its tensors by name. Refuses malformed_request and validation_failed with a pointer."""
    head, raw = content, b""
    if header_length is not None:
        if not header_length.isdecimal() or int(header_length) > len(content):
            raise invalid(
                f"#{HEADER_LENGTH}", "wrong_length", f"{header_length} is no length within {len(content):,} bytes."
            )
        head, raw = content[: int(header_length)], content[int(header_length) :]
    request: InferRequest = validate(InferRequest, head)
    tensors: dict[str, Array] = {}
    at = 0
    for i, one in enumerate(request.inputs):
        where = f"/inputs/{i}"
        if one.datatype not in DTYPES:
            raise invalid(f"{where}/datatype", "unknown_datatype", f"{one.datatype} is not one of {', '.join(DTYPES)}")
        if one.name in tensors:
            raise invalid(f"{where}/name", "duplicate", f"{one.name} was given before")
        dtype, count = np.dtype(DTYPES[one.datatype]), prod(one.shape)
        if count > MOST_VALUES:
            raise invalid(f"{where}/shape", "too_many_values", f"{count:,} values, more than {MOST_VALUES:,}")
        size = one.parameters.get("binary_data_size")
        if size is not None:
            needed, left = count * dtype.itemsize, len(raw) - at
            if size != needed or left < needed:
                detail = f"{one.shape} of {one.datatype} is {needed:,} bytes; {left:,} are left"
                raise invalid(f"{where}/parameters/binary_data_size", "wrong_length", f"it says {size}, but {detail}")
            tensors[one.name] = np.frombuffer(raw, dtype, count, at).reshape(one.shape)
            at += needed
        else:
            tensors[one.name] = _listed(one, dtype, where)
    if at != len(raw):
        raise invalid("/inputs", "wrong_length", f"{len(raw) - at:,} bytes after the last tensor belong to none")
    return request, tensors


def _listed(one: Input, dtype: np.dtype[Any], where: str) -> Array:
    try:
        given = np.asarray(one.data)
    except ValueError:
        given = np.empty(0, object)
    if one.data is None or given.dtype.kind not in "iuf" or given.size != prod(one.shape):
        raise invalid(f"{where}/data", "wrong_shape", f"data must be {prod(one.shape):,} numbers, for {one.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        return given.reshape(one.shape).astype(dtype)


def sequences(tensors: dict[str, Array], network: Network) -> tuple[list[Array], bool]:
    """Return the sequences [T_i, I], and whether they were one without a batch axis. Refuses with a pointer."""
    unknown = [name for name in tensors if name not in {"inputs", "lengths"}]
    if "inputs" not in tensors or unknown:
        detail = "the tensors are `inputs` [batch, time, inputs] and, for a ragged batch, `lengths` [batch]"
        raise invalid("/inputs", "unknown_tensor", f"{', '.join(unknown) or 'inputs is missing'}: {detail}")
    x = tensors["inputs"]
    width = 1 if network.vocabulary_size is not None else network.input_size
    single = x.ndim == 2
    if single:
        x = x[None]
    if x.ndim != 3 or x.shape[2] != width or 0 in x.shape:
        raise invalid("/inputs/0/shape", "wrong_shape", f"inputs must be [batch, time, {width}] or [time, {width}]")
    lengths = tensors.get("lengths")
    if lengths is None:
        return list(x), single
    lengths = lengths.reshape(-1)
    if lengths.dtype.kind not in "iu" or len(lengths) != len(x) or (lengths < 1).any() or (lengths > x.shape[1]).any():
        raise invalid(
            "/inputs", "wrong_shape", f"lengths must be {len(x)} whole numbers from 1 to {x.shape[1]:,}, one a sequence"
        )
    return [one[: int(length)] for one, length in zip(x, lengths, strict=True)], single


def wanted(request: InferRequest) -> list[Output]:
    """Return the tensors that are asked for."""
    return request.outputs or [Output(name="outputs", parameters={"binary_data": _binary(request)})]


def _binary(request: InferRequest) -> bool:
    return request.parameters.get("binary_data_output") is True


def together(arrays: Sequence[Array], *, single: bool, axis: int) -> Array:
    """Return what several sequences give as one array, filled up with zeros along the axis of time."""
    if single:
        return arrays[0]
    longest = max(array.shape[axis] for array in arrays)
    widened = [
        np.pad(array, [(0, longest - size) if k == axis else (0, 0) for k, size in enumerate(array.shape)])
        for array in arrays
    ]
    return np.stack(widened)


def answer(
    request: InferRequest, model: str, version: str, tensors: dict[str, Array]
) -> tuple[bytes, dict[str, str], Literal["application/json", "application/octet-stream"]]:
    """Return the answer's content, headers and media type."""
    described, raw = [], []
    for one in wanted(request):
        tensor = tensors[one.name]
        about: dict[str, Any] = {"name": one.name, "datatype": datatype(tensor), "shape": list(tensor.shape)}
        binary = one.parameters.get("binary_data")
        if binary is True or (binary is None and _binary(request)):
            raw.append(np.ascontiguousarray(tensor).astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes())
            about["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            about["data"] = tensor.reshape(-1).tolist()
        described.append(about)
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        document["id"] = request.id
    head = to_json(document | {"outputs": described}, inf_nan_mode="null")
    if not raw:
        return head, {}, "application/json"
    return head + b"".join(raw), {HEADER_LENGTH: str(len(head))}, "application/octet-stream"


def datatype(tensor: Array) -> str:
    """Return the protocol's name of an array's type."""
    return "FP64" if tensor.dtype == np.float64 else "FP32"


def sequence_of(request: InferRequest) -> tuple[str, bool, bool] | None:
    """Return sequence_id, sequence_start and sequence_end; None if the request belongs to no sequence."""
    given = request.parameters
    named = given.get("sequence_id")
    if named in (None, 0, ""):
        if given.get("sequence_start") or given.get("sequence_end"):
            raise invalid("/parameters/sequence_id", "missing", "sequence_start and sequence_end need a sequence_id")
        return None
    if isinstance(named, bool | float) or len(str(named)) > 100:
        raise invalid("/parameters/sequence_id", "wrong_type", "a sequence_id is a whole number or a short text")
    start, end = (given.get(f"sequence_{which}", False) for which in ("start", "end"))
    if not isinstance(start, bool) or not isinstance(end, bool):
        raise invalid("/parameters", "wrong_type", "sequence_start and sequence_end are true or false")
    return f"{type(named).__name__}:{named}", start, end


def replica(request: InferRequest) -> str | int:
    """Return the parameter `replica`: an index, best or all."""
    given = request.parameters.get("replica", "best")
    if given in {"best", "all"} or (isinstance(given, int) and not isinstance(given, bool) and given >= 0):
        return given
    raise invalid("/parameters/replica", "out_of_range", "a replica is an index, best or all")


def no_version(version: str) -> Refused:
    """Return the refusal of a version that is no checkpoint of the model."""
    return Refused("not_found", f"There is no version {version} of this model; its versions are ids of checkpoints.")
