"""Encoded rows, and how they become the inputs of a network.

An encoded row has one number for each stored column, and the column may have many inputs. A layout says which. It has a
line for each stored column, int64 (c, 3): its kind, its first input and its number of inputs. Columns come in the order
of their kinds: NUMBER, POSITION, SPLINE, CODE.

- NUMBER: the input is the number.
- POSITION: piecewise-linear (Gorishniy et al. 2022, arXiv 2203.05556). p = bin + fraction becomes min(max(p - b, 0), 1)
  for b = 0, 1, ...: the bins below are full, its own is filled in part, those above are empty.
- SPLINE: linear B-splines (scikit-learn's SplineTransformer of degree 1). The same p becomes max(1 - |p - i|, 0) for
  i = 0, 1, ...: the two ends of its bin have a share each, the nearer one more; all others are 0.
- CODE: the number of a category, one-hot: its input is 1 and the others 0. A number outside the inputs sets none.

The kernel never expands a SPLINE or a CODE. It adds the weights of the inputs that are not 0, times their values. To
add a product with 0 would change no bit, so the result is the product with all inputs, to the bit.
"""

from collections.abc import Callable

import numpy as np

NUMBER, POSITION, SPLINE, CODE = 0, 1, 2, 3


def layout_of(stored: list[tuple[int, int]]) -> np.ndarray:
    """The layout, int64 (c, 3), of stored columns, each given as its kind and its number of inputs."""
    kinds, widths = np.array(stored, np.int64).reshape(-1, 2).T
    return np.stack([kinds, np.cumsum(widths) - widths, widths], axis=1)


def numbers(d: int) -> np.ndarray:
    """The layout of d columns of numbers."""
    return layout_of([(NUMBER, 1)] * d)


def inputs_of(layout: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The numbers of the inputs of some stored columns, in the columns' order."""
    return np.concatenate([first + np.arange(width) for _, first, width in layout[columns].tolist()])


def terms(layout: np.ndarray) -> int:
    """How many products a row takes for each hidden unit: one for a dense input, two for a SPLINE, one for a CODE."""
    return int(np.select([layout[:, 0] == SPLINE, layout[:, 0] == CODE], [2, 1], layout[:, 2]).sum())


def plan(layout: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
    """What the kernel reads of rows where networks see these stored columns alone (None: all): int64 (m, 4).

    A line has a column's number, its kind, its first input among those that are seen, and its number of inputs.
    Neighbouring NUMBER columns share a line.
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
    """The inputs, float32 (n, d), of encoded rows x (n, c), as a module takes them."""
    return x if (layout[:, 0] == NUMBER).all() else expanded(x, by_input(layout), np.where)


def expanded(x, inputs: tuple, where: Callable):
    """Inputs (..., d) of rows x (..., c), in NumPy or PyTorch, whose `where` is given. inputs: as of `by_input`."""
    kind, of, place = inputs
    values = x[..., of]
    beyond = values - place
    values = where(kind == POSITION, beyond.clip(0.0, 1.0), values)
    values = where(kind == SPLINE, (1.0 - abs(beyond)).clip(0.0, None), values)
    return where(kind == CODE, beyond == 0.0, values)


def by_input(layout: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each input's kind (d,), stored column (d,), and place among the column's inputs, float32 (d,)."""
    widths = layout[:, 2]
    of = np.repeat(np.arange(len(layout)), widths)
    return layout[of, 0], of, (np.arange(len(of)) - layout[of, 1]).astype(np.float32)
