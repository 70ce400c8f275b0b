"""`python -m api.openapi` writes openapi.json; a test makes the document again and compares them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from api.app import create_app
from store.settings import Settings

FILE = Path(__file__).parent.parent / "openapi.json"


def render() -> str:
    """Return the text of the committed document."""
    with tempfile.TemporaryDirectory() as folder:  # it depends on no setting, and nothing is started
        app = create_app(Settings(data_dir=Path(folder), database_url="", broker_url=""))
        return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
    print(f"wrote {FILE.name}")  # noqa: T201 - a command
