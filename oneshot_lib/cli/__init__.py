"""The command `oneshot`. Nothing heavy is imported before it is needed: `oneshot --help` answers at once."""

from oneshot_lib.cli.commands import app
from oneshot_lib.cli.errors import main

__all__ = ["app", "main"]
