"""The database's history: one chain of revisions for SQLite and PostgreSQL, applied by `store.schema.migrate`.

A revision's file is named `NNNN_what_it_does.py` and its revision identifier is NNNN. `python -m migrations "what it
does"` drafts the next one from the difference between store/tables.py and the chain. Read the draft before you commit
it, and freeze a database of the revision before it (tests/migrations/freeze.py). Where batch mode makes the table of
jobs anew on SQLite, drop the index ix_jobs_queue first and create it again at the end: Alembic would lose its DESC.
Only a backup leads back to an older version: a downgrade would have to delete what the newer version wrote.
"""
