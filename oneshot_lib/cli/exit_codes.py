"""What the command exits with, besides 0 for success, 1 for a failure and 2 for a mistake."""

INTERRUPTED = 130  # by Ctrl-C, as a shell has it
