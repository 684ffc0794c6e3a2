"""Errors that a user can mend, each told in one line.

The line names the thing, the rule, the value and what to do next. `run` prints it, for a stage or a command.
"""

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

written: list[str] = []  # files that have taken their final names; plumbline.basics.files fills it
SIGPIPE_EXIT = 128 + signal.SIGPIPE  # the exit status that a shell gives a program ended by SIGPIPE
# Characters that control a terminal or reverse the direction of text. They are printed as JSON escapes.
STEERING = [*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F)]
STEERING += [*range(0x2066, 0x206A), 0xFEFF]
SHOWN = {code: f"\\u{code:04x}" for code in STEERING}
STDOUT = "standard output"
POLL_SECONDS = 0.5  # between looks at whether the DVC that started this process still lives


class UserError(Exception):
    """Something that the user can mend. Its text is the whole message."""


def reason(error: object) -> str:
    """An exception's message on one line, at most 300 characters of it."""
    return " ".join(str(error).split())[:300]


@contextlib.contextmanager
def named(what: str | Path) -> Iterator[None]:
    """Give an OSError of the block the name `what`. On a full disk it has none, or that of a temporary file."""
    try:
        yield
    except OSError as error:  # Python picks the class by the number, so a BrokenPipeError stays one
        raise OSError(error.errno, os.strerror(error.errno or errno.EIO), str(what)) from error


def run(main: Callable[[], None]) -> None:
    """Run a command's `main`. What a user can cause becomes one line on stderr and a non-zero exit.

    A bug in this program keeps its traceback, for the user cannot mend it.
    """
    _open_streams()
    written.clear()
    try:
        Path.home()
    except RuntimeError:  # a container's user has no name and no home, and DVC asks for both
        os.environ |= {"HOME": os.sep, "USER": str(os.getuid())}
    _end_with_dvc()
    try:
        main()
        sys.stdout.flush()  # here, where an error can still be reported
    except UserError as error:
        sys.exit("error: " + str(error).replace("\n", "\\n"))  # a column's name may hold line ends
    except ModuleNotFoundError as error:
        if (error.name or "plumbline").split(".")[0] in ("plumbline", "stages"):
            raise
        sys.exit(f"error: this needs {error.name}; `pip install 'plumbline[pipeline]'` brings it")
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        _drop_output()
        sys.exit(SIGPIPE_EXIT)
    except OSError as error:  # a missing file, a full disk, a folder that may not be written
        if error.filename == STDOUT:
            _drop_output()
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        done = f"{', '.join(written)}: written" if written else "nothing was written under its final name"
        sys.exit(f"error: {what}; {done}, mend that and run the stage again")
    except MemoryError as error:
        why = reason(error) or "no memory left"
        lower = "the rows, train.replicas, train.hidden_size or train.epochs"
        sys.exit(f"error: not enough memory ({why}); give it more, or lower {lower}")
    except KeyboardInterrupt:
        print("interrupted: no file was left half-written", file=sys.stderr)
        sys.exit(130)


def _drop_output() -> None:
    """Discard buffered output. Else the interpreter would try to write it once more at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """Make the standard streams safe for any text, and replace those that are closed by /dev/null."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed: the next file opened would get its descriptor, and what libraries print
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r+", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper) and name != "stdin" and "write" not in vars(stream):
            _guard(stream)


def _guard(stream: io.TextIOWrapper) -> None:
    """Print control characters as escapes: names and labels come from files, and may hold any text."""
    stream.reconfigure(errors="backslashreplace")  # for letters that the terminal's encoding lacks
    write = named(STDOUT)(stream.write)
    stream.write = lambda text: write(text.translate(SHOWN))
    stream.flush = named(STDOUT)(stream.flush)


def _end_with_dvc() -> None:
    """End with the DVC that started this process. The stage of a killed one would go on, and write beside the next."""
    parent = os.getppid()

    def wait_for_its_end() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        print("DVC, which started this stage, has ended; the stage ends as well", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

    if "DVC_STAGE" in os.environ:
        threading.Thread(target=wait_for_its_end, daemon=True).start()
