from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "pandas", "rich", "typer", "safetensors", "fastapi", "sqlalchemy", "api", "store", "rnn", "worker")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_the_package_brings_no_heavy_library() -> None:
    found = run(f"import unroll, sys; print(*[name for name in {HEAVY} if name in sys.modules])")
    assert found == ""


def test_the_command_starts_without_what_only_some_commands_need() -> None:
    lacking = [name for name in HEAVY if name not in {"rich", "typer"}]
    found = run(f"import unroll.cli.app, sys; print(*[name for name in {lacking} if name in sys.modules])")
    assert found == ""


def test_without_its_extra_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from unroll.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert 'pip install "unroll-sdk[cli]"' in ended.stderr


def test_beside_a_clone_that_is_called_unroll_the_installed_package_is_imported(tmp_path: Path) -> None:
    """A folder without __init__.py is the last resort of an import: without the SDK it would be an empty package."""
    (tmp_path / "unroll" / "sdk").mkdir(parents=True)
    (tmp_path / "script.py").write_text("import unroll; print(unroll.Client.__name__)")
    script = [sys.executable, "script.py"]
    told = subprocess.run(script, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert told.stdout == "Client\n"
