"""Where workers put up what they tell one another: values by name, at worker 0, which the others reach over TCP.

It takes the standard library's multiprocessing and no more. A worker that imported torch for this would need 1.5 s of
CPU before its first step. What comes is unpickled, so only who knows the key is heard: a digest of torchrun's run id
and the project's code. What goes over the wire is not encrypted; neither is what PyTorch's own workers exchange.
"""

import hashlib
import os
import socket
import threading
import time
from multiprocessing.context import AuthenticationError
from multiprocessing.managers import BaseManager

from plumbline.basics import inputs
from plumbline.basics.errors import UserError, reason


class Board:
    """Values by name, and those who wait for one."""

    def __init__(self):
        self._values, self._news = {}, threading.Condition()

    def tell(self, name: str, value) -> None:
        """Put up a value; the first of a name stays."""
        with self._news:
            self._values.setdefault(name, value)
            self._news.notify_all()

    def told(self, name: str, seconds: float | None = None):
        """A value as soon as it is there; None if it is not within so many seconds."""
        with self._news:
            self._news.wait_for(lambda: name in self._values, seconds)
            return self._values.get(name)


def found(patience: float) -> Board:
    """The board: worker 0 has it, the others what stands for it; a UserError if they do not reach it in time."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]) + 1  # the port itself is PyTorch's
    secret, board, deadline = key(), Board(), time.monotonic() + patience
    BaseManager.register("board", callable=lambda: board, exposed=("tell", "told"))
    if os.environ["RANK"] == "0":
        server = BaseManager((host if host == "127.0.0.1" else "", port), secret).get_server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return board
    where = f"host {socket.gethostname()} does not reach worker 0 at {host}:{port}"
    while True:
        try:
            manager = BaseManager((host, port), secret)
            manager.connect()
            return manager.board()
        except AuthenticationError:
            raise UserError(f"{where}: the code of the two, or --rdzv-id, differs; give both the same") from None
        except (OSError, EOFError) as error:
            if time.monotonic() > deadline:
                raise UserError(f"{where} ({reason(error)}); see torchrun's --local-addr") from None
            time.sleep(0.05)


def key() -> bytes:
    """What a worker of this run, with this code, knows."""
    run = hashlib.sha256(os.environ["TORCHELASTIC_RUN_ID"].encode())
    for path in sorted(path for room in ("plumbline", "stages") for path in (inputs.CODE / room).rglob("*.py")):
        run.update(path.relative_to(inputs.CODE).as_posix().encode() + path.read_bytes())
    return run.digest()
