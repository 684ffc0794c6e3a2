"""A stage ends with the DVC that started it: a killed one's stage would go on, and write beside the next."""

import os
import signal
import sys
import threading
import time

EVERY = 0.5  # seconds


def end_with_dvc() -> None:
    """Begin to watch the process that started this one, if that is DVC."""
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=_wait_for_its_end, args=(os.getppid(),), daemon=True).start()


def _wait_for_its_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(EVERY)
    print("DVC, which started this stage, has ended; the stage ends as well", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
