"""Draft the next revision: python -m migrations "what it does"."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from store import schema
from store.db import Database
from store.settings import Settings


def main() -> None:
    """Compare the tables with an empty database at the newest revision, and write the difference."""
    message = " ".join(sys.argv[1:])
    if not message:
        sys.exit(__doc__)
    number = f"{int(schema.revisions()[-1]) + 1:04d}"
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), database_url="")
        schema.migrate(settings)
        db = Database(settings)
        with db.begin() as tx:
            command.revision(schema.alembic_config(tx), message=message, rev_id=number, autogenerate=True)
        db.close()


if __name__ == "__main__":
    main()
