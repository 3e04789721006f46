"""Where every error of the command line ends: one line on standard error, and an exit code that is not 0."""

import os
import sys
from collections.abc import Sequence

from oneshot_lib.cli.commands import Ended, app
from oneshot_lib.cli.exit_codes import INTERRUPTED
from oneshot_lib.machine import share_cores


def run(arguments: Sequence[str] | None = None) -> int:
    """What `oneshot_lib.cli.main` does, KeyboardInterrupt aside where it comes before a command."""
    share_cores()
    ready_streams()
    debug = os.environ.get("ONESHOT_DEBUG", "") not in ("", "0")
    try:
        try:
            code = app(args=arguments, standalone_mode=False, prog_name="oneshot") or 0
            if code == INTERRUPTED:  # what the command-line library makes of Ctrl-C, in silence
                raise KeyboardInterrupt
        except Ended as ended:
            code = ended.code
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `oneshot list | head`: whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        if type(error).__name__ == "Abort":  # the end of the input, as the command-line library has it
            return _say("interrupted", INTERRUPTED)
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # a usage error, which knows how to be shown
            error.show()
            return error.exit_code
        if isinstance(error, OSError):
            from oneshot_lib.files import explain

            return _say(explain(error), 2)
        if isinstance(error, ValueError):
            return _say(str(error), 2)
        return _say(f"{type(error).__name__}: {error}; ONESHOT_DEBUG=1 shows where", 1)


def ready_streams() -> None:
    """Streams that take whatever a command prints: a closed one (`>&-`) leads nowhere, and what an encoding lacks is
    written as an escape, so that no answer is lost for a sign in it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  it stays open
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _say(message: str, code: int) -> int:
    print(f"oneshot: {' '.join(message.split())}", file=sys.stderr)
    return code
