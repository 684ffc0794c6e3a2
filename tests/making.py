"""Tables that stages would have written, made of pyarrow's by pyarrow's own writer, for the tests of this folder."""

import atexit
import itertools
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from plumbline.tables import duck, store
from plumbline.tables.store import Facts, Table

FACTS = Facts("y", ["no", "yes"], [1, 1], None)
_folder = tempfile.mkdtemp(prefix="plumbline-tables-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
_numbers = itertools.count()


def put(path, kind, columns, facts=store.NO_FACTS):
    """Write arrays (n,) by column, or pieces of them, as a stage's table."""
    with duck.collected(columns if isinstance(columns, list) else [columns]) as table:
        store.copy(f"FROM {table}", path, kind, facts)


def stored(table: pa.Table, facts: Facts = FACTS) -> Table:
    """The table as a stage's."""
    name = Path(_folder, str(next(_numbers)))
    pq.write_table(table, f"{name}.source.parquet")
    store.copy(f"FROM read_parquet({duck.text(f'{name}.source.parquet')})", f"{name}.parquet", "made", facts)
    return store.open(f"{name}.parquet", "made")
