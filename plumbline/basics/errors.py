"""What a user did wrong, said in one line: it names the thing, the rule, the value and what to do next."""

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

written: list[str] = []  # files that have taken their final names; plumbline.basics.files names them
NOBODY_READS = 128 + 13  # as a shell has it of a program that SIGPIPE ended
# Characters that steer a terminal, or turn a line's text around, and how they are shown: as JSON too takes them.
STEERING = [*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F)]
STEERING += [*range(0x2066, 0x206A), 0xFEFF]
SHOWN = {code: f"\\u{code:04x}" for code in STEERING}
STDOUT = "standard output"
EVERY = 0.5  # seconds between looks at the DVC that started this


class UserError(Exception):
    """A condition that the user can mend; its text is the whole message."""


def reason(error: object) -> str:
    """What an exception says, on one line and not for ever."""
    return " ".join(str(error).split())[:300]


@contextlib.contextmanager
def named(what: str | Path) -> Iterator[None]:
    """An OSError in the block is of this file: a full disk's comes without a name, or with a temporary one."""
    try:
        yield
    except OSError as error:  # BrokenPipeError stays what it is, by its number
        raise OSError(error.errno, os.strerror(error.errno or errno.EIO), str(what)) from error


def run(main: Callable[[], None]) -> None:
    """Run a command's `main` and turn what a user can cause into one line on stderr and a non-zero exit.

    A bug in this program keeps its traceback: it is not the user's to mend.
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
        sys.stdout.flush()  # here, where it can be said what goes wrong
    except UserError as error:
        sys.exit("error: " + str(error).replace("\n", "\\n"))  # a name may have more lines than one
    except ModuleNotFoundError as error:
        if (error.name or "plumbline").split(".")[0] in ("plumbline", "stages"):
            raise
        sys.exit(f"error: this needs {error.name}; `pip install 'plumbline[pipeline]'` brings it")
    except BrokenPipeError:  # whoever reads has enough, as `head` has
        _drop_output()
        sys.exit(NOBODY_READS)
    except OSError as error:  # a missing file, a full disk, a folder that may not be written
        if error.filename == STDOUT:
            _drop_output()
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        done = f"{', '.join(written)}: written" if written else "nothing was written under its final name"
        sys.exit(f"error: {what}; {done}, mend that and run the stage again")
    except MemoryError as error:
        why, lower = reason(error) or "no memory left", "the rows, train.replicas, train.hidden_size or train.epochs"
        sys.exit(f"error: not enough memory ({why}); give it more, or lower {lower}")
    except KeyboardInterrupt:
        print("interrupted: no file was left half-written", file=sys.stderr)
        sys.exit(130)


def _drop_output() -> None:
    """Forget what is not written out yet, or the interpreter tries once more at its end, and complains."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """Make standard streams take whatever is said: names and labels come from files, and are anybody's words."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed: the next file opened would take its number, and get what libraries print
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r+", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper) and name != "stdin" and "write" not in vars(stream):
            stream.reconfigure(errors="backslashreplace")  # a label that the terminal has no letters for ends no run
            stream.write, stream.flush = _harmless(named(STDOUT)(stream.write)), named(STDOUT)(stream.flush)


def _harmless(write: Callable[[str], int]) -> Callable[[str], int]:
    return lambda text: write(text.translate(SHOWN))


def _end_with_dvc() -> None:
    """End when the DVC does that started this process: a killed one's stage would go on, and write beside the next."""
    parent = os.getppid()

    def wait_for_its_end() -> None:
        while os.getppid() == parent:
            time.sleep(EVERY)
        print("DVC, which started this stage, has ended; the stage ends as well", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

    if "DVC_STAGE" in os.environ:
        threading.Thread(target=wait_for_its_end, daemon=True).start()
