"""A variable that looks like a setting and is none is named, with the setting that was probably meant."""

from __future__ import annotations

import pytest

from store.settings import Settings
from store.variables import unknown, warn_of_unknown


def test_each_unknown_variable_is_one_sentence_with_the_nearest_setting():
    assert unknown(["UNROLL_WORKER", "UNROLL_DATADIR", "unroll_threds", "UNROLL_XYZZY", "UNROLLED", "PATH"]) == [
        "UNROLL_DATADIR is no setting of Unroll and is ignored; did you mean UNROLL_DATA_DIR?",
        "UNROLL_WORKER is no setting of Unroll and is ignored; did you mean UNROLL_WORKERS?",
        "UNROLL_XYZZY is no setting of Unroll and is ignored; docs/settings.md lists all settings.",
        "unroll_threds is no setting of Unroll and is ignored; did you mean UNROLL_THREADS?",
    ]


def test_settings_in_either_case_and_what_the_sdk_and_the_tests_read_are_known():
    known = [f"UNROLL_{name}" for name in Settings.model_fields]
    known += [name.upper() for name in known] + ["UNROLL_URL", "UNROLL_API_KEY", "UNROLL_FAILPOINT"]
    assert unknown(known) == []


def test_a_warning_is_printed_once_and_not_again_by_what_this_process_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("UNROLL_PROT", "8001")
    warn_of_unknown()
    warn_of_unknown()
    assert capsys.readouterr().err == (
        "warning: UNROLL_PROT is no setting of Unroll and is ignored; did you mean UNROLL_PORT?\n"
    )
