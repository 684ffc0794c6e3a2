"""Where workers put up what they tell one another: values by name, at one of them, which the others reach over TCP.

It takes the standard library's multiprocessing and no more. A worker that imported torch for this would need 1.5 s of
CPU before its first step. Like torchrun's own ports it is for a network that is trusted: what comes is unpickled.
"""

import os
import socket
import threading
import time
from multiprocessing.context import AuthenticationError
from multiprocessing.managers import BaseManager

from plumbline.basics.errors import UserError, reason

MEETING = 60  # seconds that workers wait for one another at the start


class Board:
    """Values by name, and those who wait for one."""

    def __init__(self):
        self._values, self._news = {}, threading.Condition()
        self.heard: dict[int, float] = {}  # by worker, when it last listened

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

    def listen(self, rank: int):
        """The value "word" within a second, or None; the worker that asks for it lives."""
        self.heard[rank] = time.monotonic()
        return self.told("word", 1.0)


def place() -> tuple[str, int]:
    """Host and port of the board, of torchrun; a static rendezvous keeps the port that it names for itself."""
    alone = os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]
    is_taken = os.environ["TORCHELASTIC_USE_AGENT_STORE"] == "True"
    return "127.0.0.1" if alone else os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]) + is_taken


def found(rank: int) -> Board:
    """The board: torchrun's worker 0 has it, the others what stands for it; UserError where they do not reach it."""
    host, port = place()
    key, deadline = os.environ["TORCHELASTIC_RUN_ID"].encode(), time.monotonic() + MEETING
    board = Board()
    BaseManager.register("board", callable=lambda: board, exposed=("tell", "told", "listen"))
    if rank == 0:
        server = BaseManager((host if host == "127.0.0.1" else "", port), key).get_server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return board
    while True:
        try:
            manager = BaseManager((host, port), key)
            manager.connect()
            return manager.board()
        except (OSError, EOFError, AuthenticationError) as error:
            if time.monotonic() > deadline:
                where = f"worker {rank}, on host {socket.gethostname()}, does not reach worker 0 at {host}:{port}"
                raise UserError(f"{where} ({reason(error)}); see torchrun's --local-addr") from None
            time.sleep(0.05)
