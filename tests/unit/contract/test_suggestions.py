from __future__ import annotations

import time

import pytest

from unroll.contract.suggestions import did_you_mean, nearest

FIELDS = ["steps", "batch_size", "lr", "hidden_size", "length"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("batchsize", "batch_size"),
        ("Batch-Size", "batch_size"),
        ("lenght", "length"),
        ("stpes", "steps"),
        ("learning_rate", "lr"),
        ("hidden", "hidden_size"),
        ("epochs", "steps"),
        ("colour", None),
        ("", None),
        ("steps", None),
    ],
)
def test_the_name_that_was_probably_meant_is_found(given: str, meant: str | None):
    assert nearest(given, FIELDS) == meant


def test_another_number_is_no_slip():
    assert nearest("float16", ["float32", "float64"]) is None
    assert nearest("flot32", ["float32", "float64"]) == "float32"


def test_a_suggestion_is_a_sentence_behind_another():
    assert did_you_mean("adma", ["sgd", "adam"]) == " Did you mean adam?"
    assert did_you_mean("lion", ["sgd", "adam"]) == ""


def test_a_very_long_word_costs_nothing():
    begin = time.monotonic()
    assert nearest("x" * 10_000_000, FIELDS) is None
    assert time.monotonic() - begin < 1
