"""docs/settings.md against the settings there are."""

from __future__ import annotations

import re

from pydantic import SecretStr

from store.settings import Settings
from tests.servers.deployment import ROOT


def test_the_page_of_settings_has_every_variable_with_its_default_and_meaning():
    page = (ROOT / "docs" / "settings.md").read_text()
    told = {
        name: rest for name, *rest in re.findall(r"^\| `UNROLL_(\w+)` \| `?(.*?)`? ?\| (.*) \|$", page, re.MULTILINE)
    }
    there = {}
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        plain = default.get_secret_value() if isinstance(default, SecretStr) else str(default)
        there[name.upper()] = ["~/.local/share/unroll" if name == "data_dir" else plain, field.description]
    assert told == there
