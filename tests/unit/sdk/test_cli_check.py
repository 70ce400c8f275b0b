from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.command import unroll
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, problem

TENSOR = {
    "name": "layers.0.W_hh",
    "shape": [3, 3],
    "norm": 0.5,
    "autograd": 1e-16,
    "float32": 1e-7,
    "complex_step": 1e-16,
    "finite_differences": None,
    "entries": 9,
    "near_kinks": 9,
    "passed": True,
}


def answer(**tensor: Any) -> dict[str, Any]:
    one = TENSOR | tensor
    return {
        "passed": one["passed"],
        "parameters": 22,
        "loss": [1.0],
        "engines": [{"engine": "workspace", "loss": [1.0], "tensors": [one], "passed": one["passed"]}],
        "tolerances": {},
        "lag_profile": [[0.1, 0.2]],
        "biases": [{"layer": "layers.0", "distance": 0.0, "distance_by_gate": {}, "identifiable": False}],
        "formulas": [{"name": "dL/dW_hh", "formula": "sum of outer products", "note": "whole"}],
        "notes": ["noise is off"],
        "config": {"model": examples.NETWORK},
    }


def test_flags_make_a_check_and_its_distances_are_shown(server: ScriptedServer) -> None:
    server.script = lambda _: Answer(body=answer())
    flags = [
        "--cell",
        "lstm",
        "--hidden-size",
        "8",
        "--time-steps",
        "5",
        "--loss",
        "bce",
        "--window",
        "2",
        "--formulas",
    ]
    ended = unroll(server, "check", *flags)
    assert ended.returncode == 0, ended.stderr
    assert server.seen[0].json == {
        "model": {"cell": {"type": "lstm", "hidden_size": 8}, "input_size": 1, "output_size": 1},
        "time_steps": 5,
        "loss": {"type": "bce"},
        "bptt": {"window": 2},
    }
    lines = [line.split("\t") for line in ended.stdout.splitlines()]
    assert lines[1][:2] == ["workspace", "layers.0.W_hh"]
    assert lines[1][3:7] == ["1.0e-16", "1.0e-07", "1.0e-16", "-"]
    assert lines[2][3:7] == ["1.0e-09", "2.0e-05", "1.0e-09", "1.0e-06"]
    assert ["dL/dW_hh", "sum of outer products"] in lines
    assert ["dL/dW_hh", "whole"] in lines
    assert "whole" not in ended.stderr
    assert "only b_x + b_h is identifiable" in ended.stderr
    assert "noise is off" in ended.stderr


def test_a_failed_check_is_exit_code_6_in_either_form(server: ScriptedServer) -> None:
    server.script = lambda _: Answer(body=answer(autograd=0.1, passed=False))
    for form in ("table", "json"):
        ended = unroll(server, "check", "--hidden-size", "3", "-o", form)
        assert ended.returncode == 6
    assert json.loads(ended.stdout)["passed"] is False
    assert "6 a gradient check failed" in " ".join(unroll(server, "--help").stdout.split())


def test_a_refused_check_is_exit_code_1(server: ScriptedServer) -> None:
    server.script = lambda _: problem(422, "validation_failed")
    ended = unroll(server, "check", "--hidden-size", "3")
    assert (ended.returncode, "detail of validation_failed" in ended.stderr) == (1, True)


@pytest.mark.parametrize(
    ("flags", "sent"),
    [
        (("--loss", "cross_entropy"), 2),
        (("--loss", "cross_entropy", "--output-size", "5"), 5),
        (("--loss", "bce"), 1),
    ],
    ids=["two", "as told", "another loss"],
)
def test_cross_entropy_has_two_classes_unless_told_otherwise(
    server: ScriptedServer, flags: tuple[str, ...], sent: int
) -> None:
    server.script = lambda _: Answer(body=answer())
    ended = unroll(server, "check", "--hidden-size", "3", *flags)
    assert ended.returncode == 0, ended.stderr
    assert server.seen[0].json["model"]["output_size"] == sent


@pytest.mark.parametrize(
    "content", [examples.NETWORK, {"model": examples.NETWORK, "seed": 3}], ids=["network", "check"]
)
def test_a_file_holds_a_network_or_a_whole_check(server: ScriptedServer, tmp_path: Path, content: Any) -> None:
    server.script = lambda _: Answer(body=answer())
    file = tmp_path / "config.json"
    file.write_text(json.dumps(content))
    ended = unroll(server, "check", "--layers", "2", str(file))
    assert ended.returncode == 0, ended.stderr
    sent = server.seen[0].json
    assert sent["model"] == examples.NETWORK | {"num_layers": 2}
    assert sent.get("seed") == content.get("seed")


def test_without_a_network_or_with_an_unknown_field_nothing_is_sent(server: ScriptedServer, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model": "net", "colour": 1}))
    assert unroll(server, "check").returncode == 2
    wrong = unroll(server, "check", str(file))
    assert (wrong.returncode, "colour" in wrong.stderr) == (2, True)
    assert server.seen == []


def test_schemas_are_listed_and_one_is_shown(server: ScriptedServer) -> None:
    server.script = lambda seen: Answer(
        body={"kinds": {"network": "a network"}} if seen.path == "/v1/schema" else {"title": "Network"}
    )
    assert unroll(server, "schema").stdout.splitlines()[1] == "network\ta network"
    assert json.loads(unroll(server, "schema", "network").stdout) == {"title": "Network"}
    assert server.seen[-1].path == "/v1/schema/network"


def test_a_decoder_of_flags_reads_its_outputs_in_the_units_of_the_loss(server: ScriptedServer) -> None:
    server.script = lambda _: Answer(body=answer())
    flags = ["--hidden-size", "3", "--architecture", "encoder_decoder", "--output-steps", "4", "--variable-lengths"]
    for more in (["--loss", "cross_entropy"], [], ["--loss", "bce", "--set", "model.feedback=identity"]):
        ended = unroll(server, "check", *flags, *more)
        assert ended.returncode == 0, ended.stderr
    sent = [seen.json for seen in server.seen]
    assert [one["model"].get("feedback") for one in sent] == ["softmax", "identity", "identity"]
    assert {(one["output_steps"], one["variable_lengths"]) for one in sent} == {(4, True)}


@pytest.mark.parametrize("option", ["--hidden-size", "--cell", "--activation", "--layers", "--architecture"])
def test_a_registered_model_is_not_changed_by_flags(server: ScriptedServer, option: str) -> None:
    value = {"--hidden-size": "3", "--layers": "2"}.get(option, "gru")
    ended = unroll(server, "check", "--model", "mine", option, value)
    assert (ended.returncode, server.seen) == (2, [])
    assert option in ended.stderr


def test_flags_change_the_network_of_a_file(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = lambda _: Answer(body=answer())
    file = tmp_path / "network.json"
    file.write_text(json.dumps(examples.NETWORK))
    more = ["--cell", "gru", "--hidden", "7", "--set", "model.connectivity.density=0.5", "--set", "loss.over=sequences"]
    ended = unroll(server, "check", *more, str(file))
    assert ended.returncode == 0, ended.stderr
    sent = server.seen[0].json
    expected = examples.NETWORK["cell"] | {"type": "gru", "hidden_size": 7}
    assert sent["model"] == examples.NETWORK | {"cell": expected, "connectivity": {"density": 0.5}}
    assert sent["loss"] == {"over": "sequences"}


def test_a_path_through_what_is_no_object_is_refused(server: ScriptedServer) -> None:
    ended = unroll(server, "check", "--model", "mine", "--set", "model.cell.tau=3")
    assert (ended.returncode, server.seen) == (2, [])
    assert "'mine'" in ended.stderr
