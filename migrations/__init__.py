"""The database's history: one chain of revisions for SQLite and PostgreSQL, applied by `store.schema.migrate`.

A revision's file is named `NNNN_what_it_does.py` and its revision identifier is NNNN. `python -m migrations "what it
does"` drafts the next one from the difference between store/tables.py and the chain; read it before you commit it, and
freeze a database of the revision before it (tests/migrations/freeze.py). Where batch mode makes the table of jobs anew
on SQLite, drop the index ix_jobs_queue before it and create it again after it: Alembic would lose its DESC. There is
no way back but a backup: a downgrade would have to throw away what the newer version wrote.
"""
