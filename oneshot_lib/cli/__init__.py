"""The command `oneshot`. Nothing heavy is imported before it is needed: `oneshot --help` answers at once."""

import sys
from collections.abc import Sequence

from oneshot_lib.cli.exit_codes import INTERRUPTED

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 for success alone, 2 for a mistake, 130 for Ctrl-C.

    With ONESHOT_DEBUG=1 in the environment an error keeps its traceback.
    """
    try:  # the imports included
        from oneshot_lib.cli.errors import run

        return run(arguments)
    except KeyboardInterrupt:
        print("oneshot: interrupted", file=sys.stderr)
        return INTERRUPTED


def __getattr__(name: str):
    if name == "app":
        from oneshot_lib.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
