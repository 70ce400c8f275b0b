"""One of the two ways to run Unroll, ready to start processes in: its settings, and the environment that gives them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from store.settings import Settings

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Deployment:
    """Processes started with `env` and functions called with `settings` share one database and one broker.

    The database is migrated and empty; the data folder exists. Nothing runs yet.
    """

    name: str
    """`embedded` (SQLite, files) or `production` (PostgreSQL, Redis)."""
    settings: Settings

    @cached_property
    def env(self) -> dict[str, str]:
        """The whole environment for a process: this one's, with UNROLL_* as in `settings` and nothing else of them."""
        return environment(self.settings)

    def with_(self, **changes: Any) -> Deployment:
        """The same database and broker with some settings changed, for example lease_seconds=1.0."""
        return Deployment(self.name, configure(self.settings, **changes))


def configure(settings: Settings, **changes: Any) -> Settings:
    """A copy with changed fields, validated as if they came from the environment."""
    return Settings(**settings.model_dump() | changes)


def environment(settings: Settings, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that is to have these settings; an uninstalled checkout is importable in it."""
    env = {name: value for name, value in base.items() if not name.startswith("UNROLL_")}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        plain = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        env[f"UNROLL_{name.upper()}"] = plain
    path = [str(ROOT), str(ROOT / "sdk"), *filter(None, [base.get("PYTHONPATH")])]
    return env | {"PYTHONPATH": os.pathsep.join(path)}
