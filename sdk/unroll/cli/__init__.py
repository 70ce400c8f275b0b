"""The command `unroll`. The extra `cli` installs its libraries; the SDK works without them."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command, and exit with one of the codes in `unroll.cli.exits`."""
    try:
        import typer  # noqa: F401 - is it there?
    except ImportError:
        sys.stderr.write('The command line needs an extra: pip install "unroll-sdk[cli]"\n')
        raise SystemExit(1) from None
    from unroll.cli.app import run

    run()
