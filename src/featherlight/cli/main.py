"""One command in, an exit code out; errors go to standard error, or into the JSON object of --json."""

import json
import sys
import traceback

from typer.exceptions import Abort, TyperException

from featherlight import distributed, progress
from featherlight.cli import models, store, studies
from featherlight.cli.app import app, drop_output
from featherlight.errors import UserError, naming_extras

_COMMANDS = (models, store, studies)  # imported for the commands that they add to the application
_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; without any, `--help`. The exit code: 0; 1 our fault; 2 the user's; 130 interrupted."""
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    as_json = "--json" in arguments
    if distributed.rank():  # of several processes that a launcher started, the first one speaks
        drop_output()
    else:
        progress.show()
    try:
        with naming_extras():
            code = app(arguments, prog_name="featherlight", standalone_mode=False)
        if code == _INTERRUPTED:  # typer turns Ctrl-C into this number
            raise KeyboardInterrupt
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except UserError as error:
        return _complain(str(error), 2, as_json=as_json)
    except BrokenPipeError:
        drop_output()
    except TyperException as error:
        message = getattr(error, "format_message", error.__str__)().rstrip(".")
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "featherlight"
        return _complain(f"{message}. See `{command} --help`.", 2, as_json=as_json)
    except (KeyboardInterrupt, Abort):
        return _complain("interrupted. The same command resumes from here.", _INTERRUPTED, as_json=as_json)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not a library's own complaint
            try:
                sys.stdout.flush()
            except OSError:  # a full disk behind `> FILE`: standard output may be it
                drop_output()
            message = f"{error.filename or 'the output'}: {error.strerror}. Put that right and run the command again."
            return _complain(message, 2, as_json=False)
        traceback.print_exc()
        return _complain(f"{type(error).__name__}: {error} (a fault of featherlight, not yours)", 1, as_json=as_json)
    return 0


def _complain(message: str, code: int, *, as_json: bool) -> int:
    message = message.encode("utf-8", "backslashreplace").decode()  # a file's name may hold bytes that are no text
    if as_json:
        print(json.dumps({"error": message}, ensure_ascii=False))
    else:
        print(f"featherlight: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
