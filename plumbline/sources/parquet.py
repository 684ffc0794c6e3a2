"""A Parquet file as a table."""

from pathlib import Path

from plumbline.basics import inputs
from plumbline.sources import arrow
from plumbline.sources.rows import Keep, Rows, check_names, literal, of_files, unreadable
from plumbline.tables import duck


def read(path: Path, keep: Keep) -> Rows:
    """The file's rows; UserError for a file that is no Parquet, and for columns of one name."""
    inputs.watch(path)
    try:
        names = columns_of(path)
        check_names(names, path)
        kept = set(keep(names))
        rows = of_files([path])
        own = dict(zip(names, rows.types.items()))  # DuckDB has names of its own for those that it does not take
        rows = rows._replace(
            select={name: duck.name(its) for name, (its, _) in own.items() if name in kept},
            types={name: kind for name, (_, kind) in own.items() if name in kept},
        )
        rows = as_declared(rows, arrow.declared([path]))
    except duck.Error as error:
        raise unreadable(path, error) from None
    as_it_is = {name: duck.name(name) for name in names} == rows.select
    plain = literal(path) == str(path) and "=" not in str(path)  # else it would be more files, or a partition
    return rows._replace(file=path) if as_it_is and plain else rows


def columns_of(path: Path) -> list[str]:
    """The names that stand in a file; a column without one is named after its place."""
    found = duck.rows(f"SELECT name, coalesce(num_children, 0) FROM parquet_schema({duck.text(literal(path))})")
    return [name or f"column{i}" for i, (name, _) in enumerate(top(found))]


def top(schema: list[tuple]) -> list[tuple]:
    """The columns themselves, of what Parquet lists with all that is inside them; the last item counts children."""
    columns, i = [], 1  # the first is the table
    while i < len(schema):
        columns.append(schema[i])
        inside = schema[i][-1]
        i += 1
        while inside:
            inside += schema[i][-1] - 1
            i += 1
    return columns


def as_declared(rows: Rows, declared: dict[str, str | int]) -> Rows:
    """Categories are text even if their labels are numbers; durations are seconds; a column without a type is text."""
    select, types = dict(rows.select), dict(rows.types)
    for name, kind in rows.types.items():
        what = declared.get(name)
        if kind == "INTERVAL" or isinstance(what, int):
            seconds = f"epoch({select[name]})" if kind == "INTERVAL" else f"{select[name]}::DOUBLE / {what}"
            select[name], types[name] = seconds, "DOUBLE"
        elif what == arrow.CATEGORY or kind == '"NULL"' or kind.startswith("ENUM"):
            select[name], types[name] = f"{select[name]}::VARCHAR", "VARCHAR"
    return rows._replace(select=select, types=types)


def check(path: Path, rows: Rows) -> None:
    """Read all of a file, to find whether it is the damaged one."""
    try:
        listed = ", ".join(f"bit_xor(hash({column}))" for column in rows.select.values())
        duck.rows(f"SELECT {listed} FROM {rows.relation}")
    except duck.Error as error:
        raise unreadable(path, error) from None
