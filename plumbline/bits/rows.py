"""Encoded rows, and how they become the inputs of a network: a number a column, however many inputs that has.

A layout has a line for each stored column, int64 (c, 3): its kind, its first input and its number of inputs. Columns
stand in the order of their inputs: NUMBER columns, then POSITION, SPLINE and CODE.

- NUMBER: the input is the number.
- POSITION: piecewise-linear (Gorishniy et al. 2022, arXiv 2203.05556). p = bin + fraction becomes min(max(p - b, 0), 1)
  for b = 0, 1, ...: the bins below are full, its own is filled in part, those above are empty.
- SPLINE: linear B-splines (scikit-learn's SplineTransformer of degree 1). The same p becomes max(1 - |p - i|, 0) for
  i = 0, 1, ...: the two ends of its bin have a share each, the nearer one more; all others are 0.
- CODE: the number of a category, whose input is 1 and the others 0. One outside the inputs switches none on.

The kernel never expands a SPLINE or a CODE: a product with 0 is no work, so the weights of the two ends times their
shares, and those of the row's category, are added, with the bits of the product with all inputs.
"""

from collections.abc import Callable

import numpy as np

NUMBER, POSITION, SPLINE, CODE = 0, 1, 2, 3


def layout_of(stored: list[tuple[int, int]]) -> np.ndarray:
    """The layout of stored columns, each a kind and a number of inputs: int64 (c, 3)."""
    kinds, widths = np.array(stored, np.int64).reshape(-1, 2).T
    return np.stack([kinds, np.cumsum(widths) - widths, widths], axis=1)


def numbers(d: int) -> np.ndarray:
    """The layout of d columns of numbers."""
    return layout_of([(NUMBER, 1)] * d)


def inputs_of(layout: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The numbers of the inputs that some stored columns have, in their order."""
    return np.concatenate([first + np.arange(width) for _, first, width in layout[columns].tolist()])


def terms(layout: np.ndarray) -> int:
    """What is multiplied or added for a row and a hidden unit: dense inputs, of a SPLINE two, one of a CODE."""
    return int(np.select([layout[:, 0] == SPLINE, layout[:, 0] == CODE], [2, 1], layout[:, 2]).sum())


def plan(layout: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
    """How a tile is read where a network sees these columns alone (without: all): int64 (m, 4).

    A line has the column that is read, its kind, its first input among those seen and the number of inputs; NUMBER
    columns side by side share a line.
    """
    columns = np.arange(len(layout)) if columns is None else np.arange(len(layout))[columns]
    seen = layout_of(layout[columns][:, [0, 2]])
    if (np.diff(seen[:, 0]) < 0).any():
        raise ValueError("columns must come in the order NUMBER, POSITION, SPLINE, CODE")
    lines = []
    for source, (kind, first, width) in zip(columns.tolist(), seen.tolist()):
        last = lines[-1] if lines else None
        if last and kind == NUMBER == last[1] and last[0] + last[3] == source:
            last[3] += 1
        else:
            lines.append([source, kind, first, width])
    return np.array(lines, np.int64).reshape(-1, 4)


def expand(x: np.ndarray, layout: np.ndarray) -> np.ndarray:
    """The inputs of rows x (n, c), as a module takes them: float32 (n, d)."""
    return x if (layout[:, 0] == NUMBER).all() else expanded(x, by_input(layout), np.where)


def expanded(x, inputs: tuple, where: Callable):
    """Inputs (..., d) of rows x (..., c), in NumPy or in PyTorch: `where` is theirs. inputs: what `by_input` gives."""
    kind, of, place = inputs
    values = x[..., of]
    beyond = values - place
    values = where(kind == POSITION, beyond.clip(0.0, 1.0), values)
    values = where(kind == SPLINE, (1.0 - abs(beyond)).clip(0.0, None), values)
    return where(kind == CODE, beyond == 0.0, values)


def by_input(layout: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each input the kind (d,), its column (d,), and its place among the column's inputs, float32 (d,)."""
    widths = layout[:, 2]
    of = np.repeat(np.arange(len(layout)), widths)
    return layout[of, 0], of, (np.arange(len(of)) - layout[of, 1]).astype(np.float32)
