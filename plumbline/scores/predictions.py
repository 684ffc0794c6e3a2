"""The file of predictions, which is what comparisons read. `evaluate` writes one, and so can any other program.

It has a line for every scored row, and these columns; the last three may be missing:

    _row         a whole number, by which the rows of two revisions are paired
    target       the row's class: text, numbers or truth values
    probability  a list of R x k numbers, network by network: the probabilities that R networks (or models of other
                 seeds) give the k classes in sorted order; with two classes k is 1, the second
    part         out-of-fold, validation or test; without it all rows are of the test part
    group        a whole number, the same for rows that depend on each other
    fold         of an out-of-fold row a list of R whole numbers, its fold in each network's cross-fitting: rows of a
                 fold are ranked among themselves
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from plumbline.basics.errors import UserError
from plumbline.bits.initial import outputs_for
from plumbline.scores.differences import Rows
from plumbline.tables import duck, store

PATH = "metrics/predictions.parquet"
PARTS = ("out-of-fold", "validation", "test")  # in the order in which they are looked for
NEEDED = (store.ROW, "target", "probability")
WHOLE = "U?(TINY|SMALL|BIG)?INT(EGER)?"  # DuckDB's types of whole numbers
KINDS = {  # DuckDB's types of each column, and what it must hold
    store.ROW: (WHOLE, "a whole number in every row"),
    "probability": (rf"({WHOLE}|FLOAT|DOUBLE)\[\d*\]", "a list of numbers in every row"),
    "group": (WHOLE, "a whole number in every row"),
    "fold": (rf"{WHOLE}\[\d*\]", "a list of whole numbers"),
}
DOCUMENTED = "docs/comparisons.md has the columns"


# ---- written


def write(path: str | Path, parts: dict[str, store.Table], rows: dict[str, Rows], networks: int) -> None:
    """Write the rows of all parts with the probabilities of the first `networks` networks.

    If only some parts have groups, a row of the others is a group of its own. A UserError names the first row with a
    probability that is not finite.
    """
    facts = next(iter(parts.values())).facts
    has_groups = any(part.group is not None for part in rows.values())
    has_folds = any(part.fold is not None for part in rows.values())
    arrays, queries = {}, []
    for part, table in parts.items():
        said = rows[part].probability[:networks]
        _check_finite(said, table)
        flat = [network[:, c] for network in said for c in range(said.shape[2])]  # R x k of (n,)
        own = {f"p{i}": values for i, values in enumerate(flat)}
        selected = [duck.text(part) + " AS part", f"[{', '.join(own)}]::FLOAT[] AS probability"]
        if has_groups:
            own |= {} if rows[part].group is None else {"g": rows[part].group}
            selected.append(f'{"g" if "g" in own else "NULL"}::BIGINT AS "group"')
        if has_folds:
            folds = {} if rows[part].fold is None else {f"f{r}": fold for r, fold in enumerate(rows[part].fold)}
            own |= folds
            selected.append(f"{'[' + ', '.join(folds) + ']' if folds else 'NULL'}::INTEGER[] AS fold")
        arrays[f"_{part}"] = own
        queries.append(f'SELECT {", ".join(selected)} FROM "_{part}"')
    # All files are one source, for COPY of a UNION of them would not keep the order of rows
    source = duck.parquet(table.path for table in parts.values())
    grouped = f', coalesce(said."group", rows.{store.ROW}) AS "group"' if has_groups else ""
    cut = ", said.fold" if has_folds else ""
    sql = (
        f"SELECT rows.{store.ROW}, said.part, rows.{duck.name(facts.target)} AS target, said.probability{grouped}{cut} "
        f"FROM {source} AS rows POSITIONAL JOIN ({' UNION ALL '.join(queries)}) AS said"
    )
    with duck.registered(**arrays), table.reading():
        store.copy(sql, path, "predictions", facts, values=len(flat))


def _check_finite(probability: np.ndarray, table: store.Table) -> None:
    for network, said in enumerate(probability):
        wrong = np.flatnonzero(~np.isfinite(said).all(axis=1))
        if len(wrong):
            row = table.rows(f"SELECT {store.ROW} FROM {table.numbered} WHERE {store.PLACE} = {wrong[0]}")[0][0]
            raise UserError(
                f"{table.path}: network {network} gives row {row} no finite probability, for its training or the row's "
                "values left what float32 holds; lower train.learning_rate, or set train.encoding to robust"
            )


# ---- read


def read(path: str | Path, name: str) -> tuple[list, dict[str, Rows]]:
    """The sorted classes, and the rows of every part, sorted by `_row`; UserErrors call the file `name`."""
    found = table(path, name)
    with _called(path, name):
        return found.facts.classes, parts_of(found)


def table(path: str | Path = PATH, name: str = PATH) -> store.Table:
    """The table of predictions, its columns checked; UserErrors call the file `name`."""
    with _called(path, name):
        try:
            duck.metadata(path)
        except KeyError:  # a Parquet file of another program
            found = _of_others(path)
        except duck.Error:  # no Parquet file, and `store.open` says so
            found = store.open(path, "predictions")
        else:
            found = store.open(path, "predictions")
            found.facts = msgspec.structs.replace(found.facts, target="target")  # the column's name in this file
        _check_columns(found)
        return found


@contextlib.contextmanager
def _called(path: str | Path, name: str) -> Iterator[None]:
    """In the block, whatever is wrong with the file becomes a UserError that calls it `name`."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{name}: {error}; {DOCUMENTED}") from None
    except (UserError, duck.Error) as error:
        raise UserError(" ".join(str(error).split()).replace(str(path), name)) from None


def _of_others(path: str | Path) -> store.Table:
    """The table in a file that another program wrote. Its classes are the sorted targets."""
    found = store.Table(path, store.Facts("target", [], [], None))
    if "target" in found.columns:
        counts = dict(duck.rows(f"SELECT target, count(*) FROM {found.relation} GROUP BY target"))
        if None in counts:
            rows = f"{counts[None]} row{'s have' if counts[None] > 1 else ' has'}"
            raise ValueError(f"{rows} no target")
        if not all(isinstance(label, bool | int | float | str) for label in counts):
            raise ValueError(f"target must be text, numbers or truth values, and is {found.columns['target']}")
        if len(counts) < 2:
            raise ValueError(f"target must have two classes or more, and has {len(counts)}")
        found.facts = store.Facts("target", sorted(counts), [counts[label] for label in sorted(counts)], None)
    return found


def _check_columns(found: store.Table) -> None:
    missing = [name for name in NEEDED if name not in found.columns]
    if missing:
        raise ValueError(f"there is no column {', '.join(missing)}, only {', '.join(found.columns)}")
    for name, (kind, words) in KINDS.items():
        if name in found.columns:
            ((gaps,),) = duck.rows(f"SELECT count(*) - count({duck.name(name)}) FROM {found.relation}")
            if not re.fullmatch(kind, found.columns[name]) or (gaps and name != "fold"):
                raise ValueError(f"{name} must be {words}")
    k = outputs_for(len(found.facts.classes))
    lengths = sorted(n or 0 for (n,) in duck.rows(f"SELECT DISTINCT len(probability) FROM {found.relation}"))
    if len(lengths) != 1 or not lengths[0] or lengths[0] % k:
        said = " and ".join(map(str, lengths[:2])) or "none"
        of = f"{k} for each network ({len(found.facts.classes)} classes)"
        raise ValueError(f"probability must have as many numbers in every row, {of}, and has {said} numbers")


def parts_of(found: store.Table) -> dict[str, Rows]:
    """The rows of every part that has some, sorted by `_row`.

    A ValueError names what is no probability, and a row that is there twice.
    """
    k, has = outputs_for(len(found.facts.classes)), found.columns
    (flat,) = duck.arrays(f"SELECT unnest(probability)::FLOAT FROM {found.relation}")
    probability = np.ma.filled(flat, np.nan).reshape(len(found), -1, k).transpose(1, 0, 2)  # (R, n, k)
    _check_probabilities(probability, found)
    row, target = found.column(store.ROW), found.classes()
    part = found.column("part") if "part" in has else np.full(len(found), "test")
    group = found.column("group") if "group" in has else None
    fold = _folds(found, part, len(probability)) if "fold" in has else None
    positive, parts = int(found.facts.positive != found.facts.classes[0]), {}
    for name in PARTS:
        chosen = np.flatnonzero(part == name)
        chosen = chosen[np.argsort(row[chosen], kind="stable")]
        twice = np.flatnonzero(row[chosen][1:] == row[chosen][:-1])
        if len(twice):
            raise ValueError(f"row {row[chosen][twice[0]]} of the {name} part is there twice")
        if len(chosen):
            own = None if group is None else np.unique(group[chosen], return_inverse=True)[1]
            cut = fold[:, chosen] if fold is not None and name == "out-of-fold" else None
            said = np.ascontiguousarray(probability[:, chosen])
            parts[name] = Rows(said, target[chosen], positive, own, cut, row[chosen])
    if not parts:
        raise ValueError(f"there is no row of part {', '.join(PARTS[:-1])} or {PARTS[-1]}")
    return parts


def _folds(found: store.Table, part: np.ndarray, networks: int) -> np.ndarray | None:
    """The fold of every row in each network's cross-fitting, from 0: int64 (R, n); 0 for rows of other parts.

    None if no row is out-of-fold.
    """
    scored = np.flatnonzero(part == "out-of-fold")
    if not len(scored):
        return None
    of = f"FROM {found.relation} WHERE part = 'out-of-fold'"
    lengths = {length for (length,) in duck.rows(f"SELECT DISTINCT coalesce(len(fold), 0) {of}")}
    (flat,) = duck.arrays(f"SELECT unnest(fold)::BIGINT {of}")
    if lengths != {networks} or np.ma.is_masked(flat):
        raise ValueError(f"fold must have a whole number for each of {networks} networks in every out-of-fold row")
    fold = np.zeros((networks, len(part)), np.int64)
    for own, of_rows in zip(fold, flat.reshape(-1, networks).T):
        own[scored] = np.unique(of_rows, return_inverse=True)[1]
    return fold


def _check_probabilities(probability: np.ndarray, found: store.Table) -> None:
    """Each must lie between 0 and 1, and those of more than two classes must add up to 1."""
    wrong = ~((probability >= 0) & (probability <= 1)).all(axis=2)
    if probability.shape[2] > 1:
        wrong |= np.abs(probability.sum(axis=2, dtype=np.float64) - 1) > 0.001
    if wrong.any():
        network, place = np.argwhere(wrong)[0]
        said = [float(f"{p:.4g}") for p in probability[network, place]]
        raise ValueError(
            f"network {network} says {said} of row {found.column(store.ROW)[place]}; "
            "probabilities lie between 0 and 1, and those of all classes add up to 1"
        )
