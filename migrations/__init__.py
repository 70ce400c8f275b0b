"""The database's history: one chain of revisions for SQLite and PostgreSQL, applied by `store.schema.migrate`.

A revision's file is named `NNNN_what_it_does.py` and its revision identifier is NNNN. `python -m migrations "what it
does"` writes the next one from the difference between the tables and the chain; read it before you commit it.
"""
