"""What training prints while it runs: network 0's loss and accuracy, and on a terminal a bar over all epochs."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from plumbline.basics.params import Train


def said(row: dict, epochs: int, watched: str) -> str | None:
    """The line to print for an epoch, or None. The first, the last and every fifth have one, of many about twenty.

    watched: what the watched rows are called, "validation" or "held-out".
    """
    every = max(5, epochs // 20)
    if row["epoch"] not in (1, epochs) and row["epoch"] % every:
        return None
    parts = [
        f"{name.replace('validation', watched).replace('_', ' ')} {value:.{3 if 'acc' in name else 4}f}"
        for name, value in row.items()
        if name != "epoch"
    ]
    return f"epoch {row['epoch']:>{len(str(epochs))}}: " + ", ".join(parts)


@contextlib.contextmanager
def shown(settings: Train, total: int) -> Iterator[Callable[[int, dict | None], None]]:
    """Show the progress of a training of so many epochs in total, those of all networks.

    The function that it gives is to be called after each epoch, with how many networks were trained in it and network
    0's figures, or None if it has stopped.
    """
    bar, watched = None, "held-out" if settings.held_out else "validation"
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(total=total, unit=" network epochs", leave=False)

    def advance(networks: int, row: dict | None) -> None:
        line = row and said(row, settings.epochs, watched)
        if bar is not None:
            bar.update(networks)
        if line:
            print(line, flush=True) if bar is None else bar.write(line)

    with bar or contextlib.nullcontext():
        yield advance
