"""Predictions as tensors: the numbers of JSON, and bodies that lie are refused where they lie."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from safetensors.numpy import load, save

from api import tensors
from api.memory import Budget, Held
from api.negotiation import JSON, NPY, SAFETENSORS
from tests.integration.api.serving import JOB, Api, problem, trained
from unroll import Client, InvalidRequestError
from unroll.predictions import Prediction

Array = np.ndarray[Any, Any]
NET = JOB | {"model": {"cell": {"type": "lstm", "hidden_size": 3}, "num_layers": 2, "input_size": 4, "output_size": 2}}
NET |= {"data": {"name": "recall", "parameters": {"symbols": 2}}, "training": {"steps": 9, "loss": "cross_entropy"}}
CHANCE = np.random.default_rng(3)
X = CHANCE.standard_normal((3, 6, 4)).astype(np.float32)


class Net:
    """Where predictions are posted."""

    def __init__(self, client: httpx2.Client, path: str) -> None:
        self.client, self.path = client, path

    def json(self, **body: Any) -> Any:
        answer = self.client.post(self.path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, content: bytes, media_type: str = SAFETENSORS, **headers: str) -> httpx2.Response:
        return self.client.post(self.path, content=content, headers={"Content-Type": media_type, **headers})

    def tensors(self, content: bytes) -> tuple[dict[str, Array], dict[str, str]]:
        answer = self.post(content)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == SAFETENSORS
        size = int.from_bytes(answer.content[:8], "little")
        return load(answer.content), json.loads(answer.content[8 : 8 + size])["__metadata__"]


@pytest.fixture(scope="module")
def net(shared: tuple[Api, httpx2.Client]) -> Net:
    api, client = shared
    job = trained(api, client, NET)
    return Net(client, f"/v1/checkpoints/{job['summary']['last_checkpoint']}/predict")


def npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("replica", ["0", "best", "all"])
def test_tensors_hold_the_bits_that_json_holds(net: Net, replica: str):
    lengths = np.array([6, 2, 4])
    asked = {"replica": replica, "return": "outputs, hidden, state"}
    found, about = net.tensors(save({"inputs": X, "lengths": lengths}, asked))
    inputs = [x[:n].tolist() for x, n in zip(X, lengths, strict=True)]
    which: Any = 0 if replica == "0" else replica
    said = net.json(inputs=inputs, replica=which, **{"return": ["outputs", "hidden", "state"]})
    assert about == {"checkpoint": said["checkpoint"], "replica": str(said["replica"])}
    assert found["lengths"].tolist() == lengths.tolist()
    for name in ("outputs", "hidden"):
        assert found[name].dtype == np.float32
        for row, one, length in zip(found[name], said[name], lengths, strict=True):
            expected = np.array(one, np.float32)
            np.testing.assert_array_equal(row[..., :length, :], expected)
            assert not row[..., length:, :].any()
    for n in (0, 1):
        for name in ("h", "c"):
            expected = np.array([state["layers"][n][name] for state in said["state"]], np.float32)
            np.testing.assert_array_equal(found[f"state.layers.{n}.{name}"], expected)


def test_a_state_that_came_as_tensors_goes_on_where_it_stopped(net: Net):
    whole, _ = net.tensors(save({"inputs": X}))
    first, _ = net.tensors(save({"inputs": X[:, :2].copy()}, {"return": "outputs,state"}))
    states = {name: tensor for name, tensor in first.items() if name.startswith("state.")}
    second, _ = net.tensors(save({"inputs": X[:, 2:].copy(), **states}))
    together = np.concatenate([first["outputs"], second["outputs"]], axis=1)
    np.testing.assert_array_equal(together, whole["outputs"])


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f8", "<i8", ">i4", "|i1", "|u1"])
def test_numbers_of_any_type_are_read_as_json_reads_them(net: Net, dtype: str):
    x = (100 * X).astype(np.int8).astype(dtype) if dtype[1] != "f" else (X * np.float64(1.0000001)).astype(dtype)
    if dtype == "<i8":
        x = x * 2**40 + 2**32 + 1
    expected = np.array(net.json(inputs=x.tolist())["outputs"], np.float32)
    for content in (npy(x), npy(np.asfortranarray(x))):
        found = np.load(io.BytesIO(net.post(content, NPY).content), allow_pickle=False)
        np.testing.assert_array_equal(found, expected)
    if dtype[0] != ">":
        np.testing.assert_array_equal(net.tensors(save({"inputs": x}))[0]["outputs"], expected)


def test_whole_numbers_are_rounded_as_those_of_json_are():
    n = 2**60 + 2**36 + 1  # as float32, it is rounded up; as float64 and then float32, down
    asked = tensors.npy(npy(np.array([[n]])), Held(Budget(1 << 20)))
    assert np.float32(np.int64(n)) != np.float32(float(n))
    assert np.asarray(asked.inputs[0], np.float32).item() == np.float32(float(n))


def test_one_array_answers_one_array(net: Net):
    several = np.load(io.BytesIO(net.post(npy(X), NPY).content), allow_pickle=False)
    one = np.load(io.BytesIO(net.post(npy(X[0]), NPY).content), allow_pickle=False)
    assert (several.shape, one.shape) == ((3, 6, 2), (6, 2))
    np.testing.assert_array_equal(several[0], one)


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("*/*", None),
        (JSON, JSON),
        (SAFETENSORS, SAFETENSORS),
        (NPY, NPY),
        (f"{NPY};q=0.1, {SAFETENSORS}", SAFETENSORS),
        ("application/*", None),
    ],
)
def test_accept_chooses_among_types_and_the_bodys_own_comes_first(net: Net, accept: str, given: str | None):
    bodies = {JSON: json.dumps({"inputs": X.tolist()}).encode(), SAFETENSORS: save({"inputs": X}), NPY: npy(X)}
    for own, body in bodies.items():
        answer = net.post(body, own, Accept=accept)
        assert (answer.status_code, answer.headers["content-type"]) == (200, given or own)
        assert net.post(gzip.compress(body), own, Accept=accept, **{"Content-Encoding": "gzip"}).content == (
            answer.content
        )


def test_other_types_are_refused_with_those_that_there_are(net: Net):
    answer = net.post(b"x", "text/csv")
    assert "application/x-npy" in problem(answer, 415, "unsupported_media_type")["detail"]
    assert answer.headers["accept"] == f"{JSON}, {SAFETENSORS}, {NPY}"
    assert SAFETENSORS in problem(net.post(npy(X), NPY, Accept="text/csv"), 406, "not_acceptable")["detail"]


def test_an_answer_that_npy_cannot_hold_is_refused(net: Net):
    ragged = {"inputs": [X[0].tolist(), X[1][:2].tolist()]}
    for body, pointer in (
        (ragged, "/inputs"),
        ({"inputs": X.tolist(), "return": ["outputs", "state"]}, "/return"),
        ({"inputs": X.tolist(), "replica": "all", "reduce": "mean"}, "/reduce"),
    ):
        answer = net.post(json.dumps(body).encode(), JSON, Accept=NPY)
        assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == pointer


def test_an_answer_is_not_filled_up_without_bounds(net: Net):
    inputs = [[[0.5] * 4] * 2000] + [[[0.5] * 4]] * 600
    answer = net.post(json.dumps({"inputs": inputs}).encode(), JSON, Accept=SAFETENSORS)
    (error,) = problem(answer, 422, "validation_failed")["errors"]
    assert (error["pointer"], error["code"]) == ("/inputs", "too_many_values")
    assert net.post(json.dumps({"inputs": inputs}).encode(), JSON).status_code == 200


def header(**tensors: Any) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def entry(shape: list[Any], begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def lies() -> Iterator[tuple[str, str, bytes, str | None]]:
    """Name, media type, body, and the place that is named; None: nothing can be read at all."""
    nan = X.copy()
    nan[1, 2, 0] = np.nan
    h = {f"state.layers.{n}.{name}": np.zeros((3, 3), np.float32) for n in (0, 1) for name in "hc"}
    data = bytes(48)
    text = json.dumps({"inputs": entry([1, 3, 4], 0, 48)}).encode().ljust(17 * 1024)
    long = len(text).to_bytes(8, "little") + text
    pickled = io.BytesIO()
    np.save(pickled, np.array([print], object), allow_pickle=True)
    head = npy(X)[:128]
    for name, body, pointer in [
        ("empty", b"", None),
        ("short", b"\x01\x02", None),
        ("a header beyond the end", (2**63).to_bytes(8, "little") + b"{}", None),
        ("a header that is no JSON", header()[:8] + b"{]", None),
        ("a name twice", (2 + 2 * 60).to_bytes(8, "little") + b"{" + b'"inputs":1,' * 11 + b"x", None),
        ("a header beyond all need", long + data, None),
        ("nothing", header(), "/inputs"),
        ("a size that is not the shape's", header(inputs=entry([2, 6, 2], 0, 48)) + data, "/inputs/shape"),
        ("an end beyond the file", header(inputs=entry([1, 60, 2], 0, 480)) + data, "/inputs/data_offsets"),
        ("an end before the beginning", header(inputs=entry([1, 6, 2], 48, 0)) + data, "/inputs/data_offsets"),
        ("a hole", header(inputs=entry([1, 5, 2], 8, 48)) + data, "/inputs/data_offsets"),
        ("bytes of nobody", header(inputs=entry([1, 5, 2], 0, 40)) + data, ""),
        (
            "two tensors at one place",
            header(inputs=entry([1, 6, 2], 0, 48), lengths=entry([12], 0, 48, "I32")) + data,
            "/lengths/data_offsets",
        ),
        ("a huge shape", header(inputs=entry([2**40] * 4, 0, 48)) + data, "/inputs/shape"),
        ("a shape of more", header(inputs=entry([2**62, 1, 2], 0, 48)) + data, "/inputs/shape/0"),
        ("a negative shape", header(inputs=entry([-1, 6, 2], 0, 48)) + data, "/inputs/shape/0"),
        ("no shape", header(inputs={"dtype": "F32", "data_offsets": [0, 48]}) + data, "/inputs/shape"),
        ("an unknown dtype", header(inputs=entry([1, 6, 2], 0, 48, "BF17")) + data, "/inputs/dtype"),
        ("a tensor that is a number", header(inputs=1), "/inputs"),
        ("metadata that is a number", header(__metadata__={"replica": 1}), "/__metadata__/replica"),
        ("no steps", header(inputs=entry([1, 0, 2], 0, 0)), "/inputs"),
        ("a width of zero", header(inputs=entry([1, 2**30, 0], 0, 0)), "/inputs"),
        ("two axes", save({"inputs": X[0]}), "/inputs"),
        ("another width", save({"inputs": X[:, :, :1].copy()}), "/inputs/0/0"),
        ("NaN", save({"inputs": nan}), "/inputs/1/2/0"),
        ("a number beyond float32", save({"inputs": np.full((1, 1, 4), 1e300)}), "/inputs/0/0/0"),
        ("an unknown tensor", save({"inputs": X, "weights": X}), "/weights"),
        ("lengths of zero", save({"inputs": X, "lengths": np.array([1, 0, 2])}), "/lengths/1"),
        ("lengths beyond the steps", save({"inputs": X, "lengths": np.array([1, 7, 2])}), "/lengths/1"),
        ("lengths that are no whole numbers", save({"inputs": X, "lengths": np.ones(3)}), "/lengths"),
        ("two lengths for three", save({"inputs": X, "lengths": np.array([1, 2])}), "/lengths"),
        ("an unknown option", save({"inputs": X}, {"replicas": "all"}), "/__metadata__/replicas"),
        ("a replica that is none", save({"inputs": X}, {"replica": "first"}), "/__metadata__/replica"),
        ("a replica that is not there", save({"inputs": X}, {"replica": "7"}), "/__metadata__/replica"),
        ("something else to return", save({"inputs": X}, {"return": "outputs,loss"}), "/__metadata__/return/1"),
        ("steps", save({"inputs": X}, {"steps": "3"}), "/__metadata__/steps"),
        ("reduce one replica", save({"inputs": X}, {"reduce": "mean"}), "/__metadata__/reduce"),
        ("states of two", save({"inputs": X, **{n: t[:2] for n, t in h.items()}}), "/state.layers.0.c"),
        (
            "a state that is too wide",
            save({"inputs": X, **h, "state.layers.1.h": np.zeros((3, 4))}),
            "/state.layers.1.h/0",
        ),
        ("a state without a layer", save({"inputs": X, "state.layers.1.h": h["state.layers.1.h"]}), None),
        ("too many layers", save({"inputs": X, "state.layers.99.h": h["state.layers.1.h"]}), "/state.layers.99.h"),
        ("NaN in a state", save({"inputs": X, **h, "state.layers.0.h": np.full((3, 3), np.nan)}), None),
        ("another cell's state", save({"inputs": X, **h, "state.layers.0.v": h["state.layers.0.h"]}), None),
    ]:
        yield name, SAFETENSORS, body, pointer
    for name, body, pointer in [
        ("no npy", b"\x93NUMPX", None),
        ("an empty npy", b"", None),
        ("a pickle", pickled.getvalue(), "/inputs"),
        ("a header that is code", head.replace(b"(3, 6, 4)", b"print(1) "), None),
        ("half an npy", npy(X)[:-4], "/inputs"),
        ("more than an npy", npy(X) + b"1", "/inputs"),
        ("a huge npy", npy(X).replace(b"(3, 6, 4), ", b"(3, 6, 9**99),"[:11]), None),
        ("a negative npy", npy(X).replace(b"(3, 6, 4)", b"(-3,-6,2)"), "/inputs"),
        ("numbers that are texts", npy(np.array([["a"]])), "/inputs"),
        ("complex numbers", npy(X.astype(np.complex64)), "/inputs"),
        ("one axis", npy(X[0, 0]), "/inputs"),
        ("another width as npy", npy(X[0, :, :1]), "/inputs/0/0"),
        ("infinity", npy(np.full((1, 4), np.inf)), "/inputs/0/0/0"),
    ]:
        yield name, NPY, body, pointer


def test_a_body_that_lies_is_refused_where_it_lies(net: Net):
    good = net.post(save({"inputs": X})).content
    for name, media_type, body, pointer in lies():
        answer = net.post(body, media_type)
        assert answer.status_code in {400, 422}, (name, answer.text[:300])
        code = "malformed_request" if answer.status_code == 400 else "validation_failed"
        document = problem(answer, answer.status_code, code)
        if pointer is not None:
            assert pointer in [error["pointer"] for error in document["errors"]], (name, document)
    assert net.post(save({"inputs": X})).content == good


def test_random_damage_is_refused_or_changes_numbers_alone(net: Net):
    whole = save({"inputs": X, "lengths": np.array([6, 2, 4])}, {"replica": "0"})
    for _ in range(60):
        body = bytearray(whole)
        body[CHANCE.integers(200)] ^= 1 << CHANCE.integers(8)
        assert net.post(bytes(body)).status_code in {200, 400, 422}
        damaged = bytearray(npy(X))
        damaged[CHANCE.integers(128)] ^= 1 << CHANCE.integers(8)
        assert net.post(bytes(damaged), NPY).status_code in {200, 400, 422}


def test_replicas_together_are_a_mean_or_a_median_with_an_interval(net: Net):
    inputs = [x[:n].tolist() for x, n in zip(X, (6, 1, 4), strict=True)]
    several = [np.array(one) for one in net.json(inputs=inputs, replica="all")["outputs"]]
    mean = net.json(inputs=inputs, replica="all", reduce="mean")
    quantiles = net.json(inputs=inputs, replica="all", reduce="quantiles")
    assert (mean["replica"], mean["interval"]["level"], quantiles["interval"]["level"]) == ("all", None, 0.9)
    for i, y in enumerate(several):
        centre, deviation = y.mean(0), y.std(0, ddof=1)
        low, median, high = np.quantile(y, [0.05, 0.5, 0.95], axis=0)
        for found, expected in (
            (mean["outputs"][i], centre),
            (mean["interval"]["lower"][i], centre - deviation),
            (mean["interval"]["upper"][i], centre + deviation),
            (quantiles["outputs"][i], median),
            (quantiles["interval"]["lower"][i], low),
            (quantiles["interval"]["upper"][i], high),
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    found, about = net.tensors(save({"inputs": X}, {"replica": "all", "reduce": "quantiles"}))
    assert about["level"] == "0.9"
    assert found["outputs"].shape == found["interval.lower"].shape == found["interval.upper"].shape == (3, 6, 2)
    np.testing.assert_array_equal(found["outputs"][0], np.array(quantiles["outputs"][0], np.float32))


@pytest.fixture
def sdk(shared: tuple[Api, httpx2.Client]) -> Iterator[Client]:
    with Client(shared[0].url, shared[0].key()) as client:
        yield client


def equal(one: Prediction, other: Prediction) -> None:
    """Fail unless two predictions have the same bits, of the same type and shape."""
    for left, right in zip(arrays(one), arrays(other), strict=True):
        assert left.dtype == right.dtype == np.float64
        np.testing.assert_array_equal(left, right, strict=True)


def arrays(found: Prediction) -> list[Array]:
    several = [found.outputs, found.hidden]
    several += [] if found.interval is None else [found.interval.lower, found.interval.upper]
    flat = [one for each in several if each is not None for one in each]
    return flat + [layer[name] for layers in found.state or [] for layer in layers for name in sorted(layer)]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("replica", [1, "best", "all"])
def test_the_sdk_gives_the_same_bits_both_ways(net: Net, sdk: Client, ragged: object, replica: Any):
    checkpoint = net.path.split("/")[3]
    x: Any = [X[0], X[1][:1], X[2][:4].astype(np.float64) / 3] if ragged else X

    def ask(**options: Any) -> Prediction:
        found = [sdk.checkpoints.predict(checkpoint, x, binary=binary, **options) for binary in (False, True)]
        equal(*found)
        assert len({(one.checkpoint, one.replica, one.model) for one in found}) == 1
        assert isinstance(found[1].outputs, list) == bool(ragged)
        return found[1]

    first = ask(replica=replica, returns=["outputs", "hidden", "state"])
    ask(replica=replica, state=first.state)
    if replica == "all":
        for reduce, level in (("mean", None), ("quantiles", 0.9)):
            interval = ask(replica="all", reduce=reduce).interval
            assert interval is not None
            assert interval.level == level


def test_the_sdk_sends_large_inputs_as_tensors_by_itself(net: Net, sdk: Client, monkeypatch: pytest.MonkeyPatch):
    sent = []
    original = sdk.checkpoints._transport.request

    def request(*arguments: Any, **options: Any) -> Any:
        sent.append("content" in options)
        return original(*arguments, **options)

    monkeypatch.setattr(sdk.checkpoints._transport, "request", request)
    uneven = [np.zeros((300, 4)), *[np.zeros((1, 4))] * 9]
    for x in (np.zeros((1, 300, 4)), np.zeros((1, 3, 4)), uneven):
        sdk.checkpoints.predict(net.path.split("/")[3], x)
    assert sent == [True, False, False]


@pytest.mark.parametrize("wrong", [{"state": [[{"h": [0.0]}]]}, {"replica": 9}, {"reduce": "mean"}, {"steps": 2}])
def test_the_sdk_names_what_is_wrong_both_ways(net: Net, sdk: Client, wrong: dict[str, Any]):
    for binary in (False, True):
        with pytest.raises(InvalidRequestError):
            sdk.checkpoints.predict(net.path.split("/")[3], X, binary=binary, **wrong)


@pytest.mark.parametrize(
    "more",
    [{}, {"replica": 0}, {"replica": "all", "return": ["outputs", "state"]}, {"replica": "all", "return": ["state"]}],
)
def test_only_outputs_of_all_replicas_are_reduced(net: Net, more: dict[str, Any]):
    answer = net.client.post(net.path, json={"inputs": X.tolist(), "reduce": "mean", **more})
    (error,) = problem(answer, 422, "validation_failed")["errors"]
    assert (error["pointer"], error["code"]) == ("/reduce", "contradiction")
