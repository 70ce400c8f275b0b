"""The notebook of the first hour, run from its first cell to its last in a kernel, against a service of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests.servers.deployment import ROOT
from tests.servers.up import embedded, up

pytestmark = pytest.mark.timeout(300)

NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_kept_without_outputs(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """The notebook with its outputs, and the folder in which it ran."""
    folder = tmp_path_factory.mktemp("home")
    notebook: Any = nbformat.read(ROOT / "docs" / "tutorials" / "first_hour.ipynb", as_version=4)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("UNROLL_", "XDG_"))}
    env |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'sdk'}", "UNROLL_DATA_DIR": str(folder / "data")}
    env |= {"IPYTHONDIR": str(folder / "ipython")}
    with up(folder / "data", embedded(folder / "data")):
        client = NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(folder)}})
        client.execute(env=env)
        yield notebook, folder


def outputs(notebook: Any, beginning: str) -> list[dict[str, str]]:
    """What the cell shows whose code begins so, by media type."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(beginning)]
    return [one.get("data", {"text/plain": one.get("text", "")}) for one in cell.outputs]


def test_the_notebook_trains_shows_predicts_evaluates_and_exports(ran: tuple[Any, Path]) -> None:
    notebook, folder = ran
    bar, ended = outputs(notebook, "job = client.train")
    assert "width:100.0%" in bar["text/html"]
    assert "first-hour succeeded: step 2000 of 2000" in bar["text/plain"]
    assert re.fullmatch(
        r"<train job job_\w+ 'first-hour': succeeded, step 2000 of 2000, best loss .*>", ended["text/plain"]
    )
    assert ended["text/html"].startswith("<table>")
    (curves,) = outputs(notebook, "curves = ")
    assert curves["text/html"].count("<svg") == 2
    assert "loss (logarithmic scale)" in curves["text/html"]
    (arrays,) = outputs(notebook, "print(curves")
    shape, _, loss = arrays["text/plain"].partition(")\n2000 ")
    assert shape == "(2000, 8"
    assert 0 < float(loss) < 1
    (prediction,) = outputs(notebook, "x = np.array")
    numbers = np.array(re.findall(r"-?\d+\.\d*(?:e[+-]\d+)?", prediction["text/plain"]), np.float64).reshape(3, 3)
    np.testing.assert_allclose(numbers[:, 2], numbers[:, 1], atol=0.5)
    (evaluation,) = outputs(notebook, "evaluation = ")
    assert re.match(r"<evaluation job_\w+: loss .*>", evaluation["text/plain"])
    assert len(re.findall(r"; length \d+: loss [\d.]+", evaluation["text/plain"])) == 4
    (listing,) = outputs(notebook, "client.jobs.list")
    assert [line.split()[1] for line in listing["text/plain"].splitlines()[1:]] == ["export", "evaluate", "train"]
    with np.load(folder / "first_hour.npz") as tensors:
        assert tensors["readout.W_hy"].shape[-1] == 10


def test_no_cell_wrote_a_warning_or_an_error(ran: tuple[Any, Path]) -> None:
    notebook, _ = ran
    streams = [one for cell in notebook.cells for one in cell.get("outputs", []) if one.output_type == "stream"]
    assert {one.name for one in streams} <= {"stdout"}
