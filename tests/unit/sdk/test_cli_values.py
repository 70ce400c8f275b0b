"""Values on the command line and in files: nothing is taken silently that stands twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from unroll.cli.values import parameters, read_json


def test_values_are_json_where_they_are_and_text_otherwise():
    assert parameters(["length=20", "order=same", 'x={"a": [1]}'], "--param") == {
        "length": 20,
        "order": "same",
        "x": {"a": [1]},
    }


@pytest.mark.parametrize("given", [["length=20", "length=30"], ['x={"a": 1, "a": 2}']])
def test_a_parameter_or_a_name_in_it_that_is_given_twice_is_refused(given: list[str]):
    with pytest.raises(typer.BadParameter, match="twice"):
        parameters(given, "--param")


def test_a_file_in_which_a_name_stands_twice_is_refused_with_its_place(tmp_path: Path):
    file = tmp_path / "job.json"
    file.write_text('{\n "training": {"steps": 1, "steps": 2}\n}')
    with pytest.raises(typer.BadParameter, match=r"job.json: The name 'steps' stands twice.* line 2 column 28"):
        read_json(file, "--file")
