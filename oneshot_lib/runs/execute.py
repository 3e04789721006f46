"""The process in which a notebook is executed, `python -m oneshot_lib.runs.execute`: see `launch`.

It has a session of its own, so that a terminal's Ctrl-C goes to the command alone, which decides. Two words
come through standard input: a line "interrupt" is handed to the kernel as SIGINT, and the end of the input
means that the command is gone, however it went: the kernel is killed then, and does not train on behind
anyone's back.
"""

import errno
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil

from oneshot_lib.files import explain
from oneshot_lib.runs.folder import no_room

GONE = 137  # what a process killed with -9 exits with


def main() -> int:
    """Execute the notebook that the JSON in the first argument describes; print the outcome as JSON."""
    task = json.loads(sys.argv[1])
    words = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115  unbuffered: a buffer's lock would be held at exit
    threading.Thread(target=obey, args=(words,), daemon=True).start()
    from papermill import PapermillExecutionError

    from oneshot_lib.runs.kernel import execute

    error, message = None, ""
    try:
        execute(task["notebook"], task["output"], task["parameters"], task["folder"])
    except PapermillExecutionError as failure:
        error, message = failure.ename, failure.evalue
    except OSError as failure:
        failure.filename = failure.filename or task["output"]
        error, message = "OSError", explain(failure)
    if error not in (None, "TimeSpent") and no_room(Path(task["folder"])):
        message = f"{explain(OSError(errno.ENOSPC, '', task['output']))} ({error}: {message})"
    print(json.dumps({"error": error, "message": message}))
    return 0 if error is None else 1


def obey(words) -> None:
    """Forward every "interrupt" to the kernel; kill it and this process when the words end."""
    for word in words:
        if word.strip() == b"interrupt":
            kernels = psutil.Process().children()
            for kernel in kernels:
                kernel.send_signal(signal.SIGINT)
            if not kernels:  # it has not started yet: nothing to save
                os._exit(128 + signal.SIGINT)
    for _ in range(3):  # one that is being started at this moment included
        for process in psutil.Process().children(recursive=True):
            process.kill()
        time.sleep(0.02)
    os._exit(GONE)


if __name__ == "__main__":
    sys.exit(main())
