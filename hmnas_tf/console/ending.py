"""How a command that is a whole process ends."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable


def start_and_end(main: Callable[[], None]) -> None:
    """Starts a command, and ends the process at once when it has done everything: TensorFlow would take itself apart.

    That takes seconds, with large graphs more. A command that was stopped ends as Python does, which writes what
    TensorBoard has not got yet, and so does one of several workers, which says goodbye to the others.

    Args:
        main: ends by `SystemExit`, as absl's `app.run` does, or returns.
    """
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    if "TF_CONFIG" in os.environ:
        return
    atexit._run_exitfuncs()  # as `multiprocessing` ends its processes
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
