"""What a training says while it runs: network 0's loss and accuracy, and on a terminal a bar of all epochs."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from plumbline.basics.params import Train


def said(row: dict, epochs: int, watched: str) -> str | None:
    """The line to print for an epoch: the first and every fifth as in the notebook, about twenty of a long run.

    watched: what the rows are that stand in the row as validation, "validation" or "held-out".
    """
    every = max(5, epochs // 20)
    if row["epoch"] != 1 and row["epoch"] % every:
        return None
    parts = [
        f"{name.replace('validation', watched).replace('_', ' ')} {value:.{3 if 'acc' in name else 4}f}"
        for name, value in row.items()
        if name != "epoch"
    ]
    return f"epoch {row['epoch']:>{len(str(epochs))}}: " + ", ".join(parts)


@contextlib.contextmanager
def shown(settings: Train, total: int) -> Iterator[Callable[[int, dict | None], None]]:
    """Network 0's epoch lines and, on a terminal, a progress bar over the epochs of all networks above them.

    What it gives is called with the number of networks that have an epoch more behind them, and network 0's row.
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
