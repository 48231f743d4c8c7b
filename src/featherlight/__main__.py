"""python -m featherlight, and the `featherlight` command."""

import atexit
import contextlib
import os
import sys

from featherlight.cli.main import main


def command() -> None:
    """Run one command and leave at once: taking torch apart piece by piece costs a second that nobody needs."""
    code = main()
    with contextlib.redirect_stdout(sys.stderr):  # what others say in leaving is no part of the answer
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 1
    os._exit(code)


if __name__ == "__main__":
    command()
