"""Hides the native kernel from every Python that has this folder on its PYTHONPATH, as if no compiler had built it."""

from __future__ import annotations

import pathlib

real = pathlib.Path.exists
pathlib.Path.exists = lambda path, **options: path.name != "libunroll.so" and real(path, **options)
