"""Output in encodings that lack some of its letters."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.command import unroll
from tests.unit.sdk.scripted_server import Answer, ScriptedServer
from tests.unit.sdk.service import DONE, Service, Trained, submitted
from tests.unit.sdk.test_cli_check import answer as check
from unroll.cli.streams import PLAIN

ROOT = Path(__file__).parents[3]
ENCODINGS = ["cp1252", "cp437", "cp850", "gbk", "shift_jis", "koi8-r", "latin-1", "ascii"]
NAME = "Zürich λ→日本 😀"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_training_that_succeeded_ends_with_0_whatever_its_name(server: ScriptedServer, encoding: str) -> None:
    server.script = Service(DONE | {"name": NAME, "labels": {"lab": NAME}})
    ended = unroll(server, "train", "-f", "-", stdin=json.dumps({**examples.CONFIG, "name": NAME}), encoding=encoding)
    assert ended.returncode == 0
    assert "succeeded" in ended.stdout
    assert "\\U0001f600" in ended.stdout


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "job_1"],
        ["jobs"],
        ["--help"],
        ["train", "--help"],
        ["predict", "ckpt_1", "-i", f"/none/{NAME}.npy"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_every_command_ends_as_it_does_in_utf_8(server: ScriptedServer, encoding: str, arguments: list[str]) -> None:
    server.script = Trained()
    expected = unroll(server, *arguments)
    ended = unroll(server, *arguments, encoding=encoding)
    assert ended.returncode == expected.returncode
    assert "Traceback" not in ended.stderr
    assert len(ended.stdout.splitlines()) == len(expected.stdout.splitlines())


FORMULAS: list[dict[str, Any]] = [
    {"name": "dL/dW_hh", "formula": "Σ_t dL/da[t] h[t-1]ᵀ", "note": "f' = 1 - f²"},
    {"name": "τ", "formula": "∏ ∂h/∂τ ∘ e^-θ", "note": ""},
]


@pytest.mark.parametrize(
    ("encoding", "formula"),
    [("ascii", "Sum_t dL/da[t] h[t-1]^T"), ("cp437", "Σ_t dL/da[t] h[t-1]^T"), ("gbk", "Σ_t dL/da[t] h[t-1]^T")],
)
def test_formulas_stay_formulas(server: ScriptedServer, encoding: str, formula: str) -> None:
    server.script = lambda _: Answer(body=check() | {"formulas": FORMULAS})
    ended = unroll(server, "check", "--hidden", "3", "--formulas", encoding=encoding)
    assert ended.returncode == 0
    assert f"dL/dW_hh\t{formula}\n" in ended.stdout
    assert "\\" not in ended.stdout


def symbols() -> Iterator[str]:
    """Every symbol in the strings of the packages, docstrings aside."""
    for place in ("rnn", "api", "store", "worker", "sdk"):
        for file in (ROOT / place).rglob("*.py"):
            if file.name in {"streams.py", "_characters.py", "_settings.py"}:  # they name what others write
                continue
            tree = ast.parse(file.read_text(encoding="utf-8"))
            documented = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documented:
                    yield from (letter for letter in node.value if not letter.isascii())


def test_every_symbol_that_the_program_writes_has_a_form_in_ascii() -> None:
    assert set(symbols()) - set(PLAIN) == set()
    assert all(form.isascii() for form in PLAIN.values())


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_json_on_stdin_is_utf_8_whatever_the_terminal_has(server: ScriptedServer, encoding: str) -> None:
    server.script = Service(DONE)
    config = json.dumps({**examples.CONFIG, "name": NAME}, ensure_ascii=False)
    assert unroll(server, "train", "-f", "-", stdin=config, encoding=encoding).returncode == 0
    assert submitted(server.seen)["name"] == NAME


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_file_may_be_written_by_an_editor_of_windows(server: ScriptedServer, tmp_path: Path, encoding: str) -> None:
    server.script = Service(DONE)
    file = tmp_path / "job.json"
    file.write_text(json.dumps({**examples.CONFIG, "name": NAME}, ensure_ascii=False), encoding=encoding)
    assert unroll(server, "train", "-f", str(file)).returncode == 0
    assert submitted(server.seen)["name"] == NAME


def test_the_plot_of_the_example_is_drawn_in_ascii() -> None:
    code = (
        "import sys; sys.path.insert(0, 'examples'); import integrate_noise, numpy; "
        "from unroll.cli.streams import legible; legible(); "
        "line = numpy.linspace(0, 1, 20); integrate_noise.plot_in_terminal(line, line, 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", code],
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    plot = ended.stdout.decode("ascii").splitlines()
    assert "\\" not in "".join(plot)
    assert {len(line) for line in plot if "|" in line} == {80}
