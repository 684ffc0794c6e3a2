"""What make_data refuses before it reads: places, and names of columns."""

from pathlib import Path

from plumbline.basics.errors import UserError
from plumbline.basics.params import nearest
from plumbline.tables.store import ROW


def place(source: Path, output: str) -> None:
    """Refuse a source that is not there, or that holds what the stages write."""
    if source.resolve() in Path(output).resolve().parents:
        raise UserError(
            f"make_data.source {source} is a folder that holds what the stages write; put the table elsewhere"
        )
    if not source.exists():
        raise UserError(
            f"make_data.source {source} is not there (in a --temp or --queue run it must be tracked: `git add` or "
            f"`dvc add` it); name a .parquet, .csv or .csv.gz file, a folder of .parquet files, or a .py that makes one"
        )


def kept(names: list[str], make) -> list[str]:
    """The columns without those of make.drop; UserError for names that are not there, are reserved, or are too few."""
    for name in make.drop:
        if name not in names:
            hint = nearest(name, names)
            raise UserError(f"{make.source} has no column {name!r} to leave out (make_data.drop){hint}")
    left = [name for name in names if name not in make.drop]
    if make.target not in left:
        raise UserError(f"{make.source} has no column {make.target!r} (make_data.target){nearest(make.target, left)}")
    if ROW in left:
        raise UserError(f"{make.source} has a column named {ROW!r}, which is reserved for row numbers; rename it")
    if len(left) < 2:
        raise UserError(
            f"{make.source} has no column beside the target {make.target!r}; a model needs at least one feature"
        )
    return left
