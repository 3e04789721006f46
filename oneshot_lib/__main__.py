"""`python -m oneshot_lib` is the command `oneshot`."""

import sys

from oneshot_lib.cli import main

sys.exit(main())
