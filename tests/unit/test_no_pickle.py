"""Nothing that ships reads or writes pickles: reading one may run code that is hidden in it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("api", "worker", "store", "rnn", "migrations", "sdk/unroll")


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle",
        "import dill",
        "import joblib",
        "import marshal",
        "import shelve",
        "import torch; torch.load('x', weights_only=False)",
        "import torch; torch.save({}, 'x')",
        "import pandas as pd; pd.read_pickle('x')",
    ],
)
def test_ruff_refuses_what_reads_pickles(line: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", "store/new.py", "-"]
    answer = subprocess.run(command, input=f"{line}\n", cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "TID251" in answer.stdout


def pickled(tree: ast.AST) -> list[int]:
    """The lines of calls that allow pickles, or that leave it open whether they do."""
    return [
        call.lineno
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if (keyword.arg == "allow_pickle" and not _is(keyword.value, constant=False))
        or (keyword.arg == "weights_only" and not _is(keyword.value, constant=True))
    ]


def _is(node: ast.expr, *, constant: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is constant


def test_the_search_finds_calls_that_allow_pickles() -> None:
    source = "np.load(f, allow_pickle=True)\nnp.load(f, allow_pickle=maybe)\nnp.load(f, allow_pickle=False)\nread(f)\n"
    assert pickled(ast.parse(source)) == [1, 2]
    assert pickled(ast.parse("load(f, weights_only=False)\nload(f, weights_only=True)")) == [1]


def test_nothing_that_ships_allows_pickles() -> None:
    files = [file for folder in SHIPPED for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    sources = {str(file): file.read_text() for file in files}
    suspicious = {file: text for file, text in sources.items() if "allow_pickle" in text or "weights_only" in text}
    found = {file: lines for file, text in suspicious.items() if (lines := pickled(ast.parse(text)))}
    assert found == {}
