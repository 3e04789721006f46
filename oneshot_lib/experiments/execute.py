"""The process in which a notebook is executed, `python -m oneshot_lib.experiments.execute`: see `launch`.

It has a session of its own, so that a terminal's Ctrl-C goes to the command alone, which decides. Two words
come through standard input: a line "interrupt" is handed to the kernel as SIGINT, and the end of the input
means that the command is gone, however it went: the kernel is killed then, and does not train on behind
anyone's back.
"""

import json
import os
import signal
import sys
import threading
import time

import psutil

from oneshot_lib.data.files import home_variables

GONE = 137  # what a process killed with -9 exits with


def main() -> int:
    """Execute the notebook that the JSON in the first argument describes; print the outcome as JSON."""
    task = json.loads(sys.argv[1])
    words = open(0, "rb", buffering=0, closefd=False)  # unbuffered: a buffer's lock would be held at exit
    threading.Thread(target=obey, args=(words,), daemon=True).start()
    os.environ.update(home_variables())  # Jupyter does not work without a home
    import papermill

    try:
        papermill.execute_notebook(
            task["notebook"],
            task["output"],
            task["parameters"],
            kernel_name="python3",
            cwd=task["folder"],
            progress_bar=False,
        )
    except papermill.PapermillExecutionError as error:
        print(json.dumps({"error": error.ename, "message": error.evalue}))
        return 1
    print(json.dumps({"error": None, "message": ""}))
    return 0


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
