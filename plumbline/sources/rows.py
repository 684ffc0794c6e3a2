"""A table as DuckDB goes through it, whatever it came from."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from plumbline.basics.errors import UserError, reason
from plumbline.tables import duck
from plumbline.tables.store import PLACE, Spelling, counted

STAGED = 122_880  # rows of a row group in a file on the way, DuckDB's own number: the fastest

Keep = Callable[[list[str]], list[str]]  # gives the columns to keep of those there are; UserError for what is wrong


class Rows(NamedTuple):
    """What stands behind FROM, an SQL expression for every column by its name, and the type that each then has."""

    relation: str
    select: dict[str, str]
    types: dict[str, str]
    count: int
    paths: list[Path]  # the Parquet files that they are in
    file: Path | None = None  # the Parquet file that holds exactly this, if there is one
    where: str = ""  # a condition that `count` rows meet, if not all do
    places: Callable[[list[int]], list[str]] | None = None  # where rows of these numbers stand in a file of text
    declared: frozenset[str] = frozenset()  # columns of text that the file says are categories
    index: tuple[str, ...] = ()  # columns that the file says are its index
    has_point: bool = False  # whether the file surely writes decimal points, or can have no decimal commas
    spellings: Mapping[str, Spelling] = MappingProxyType({})  # of columns that are text in the file, and no text here

    def only(self, kept: list[str]) -> "Rows":
        """The same with these columns alone, in the order that they have."""
        select = {name: sql for name, sql in self.select.items() if name in kept}
        return self._replace(select=select, types={name: self.types[name] for name in select})

    def placed(self, numbers: list[int]) -> list[str]:
        """In words, where rows of these numbers, from 0 and in order, stand in the source."""
        return self.places(numbers) if self.places else [f"row {number}" for number in numbers]

    def unreadable(self, source: str | Path, error: Exception) -> UserError:
        """What is said of it when a query fails: which file is damaged inside, or why not all can be read."""
        for path in self.paths:
            try:
                duck.rows(f"SELECT bit_xor(hash(COLUMNS(*))) FROM {relation([path])}")
            except duck.Error as its:
                return unreadable(path, its)
        return unreadable(source, error)

    @property
    def query(self) -> str:
        """The query for all rows."""
        return f"SELECT {self._listed} FROM {self.relation}" + (f" WHERE {self.where}" if self.where else "")

    @property
    def _listed(self) -> str:
        return ", ".join(f"{sql} AS {duck.name(name)}" for name, sql in self.select.items())

    def cells(self, name: str) -> str:
        """What stands behind FROM for the cells of a column, each with the number of its row, from 0."""
        return f"({self._counted(f'numbers.{PLACE} AS row, {self.select[name]} AS cell')})"

    @property
    def numbered(self) -> str:
        """What stands behind FROM for all rows, each with its PLACE."""
        return f"({self._counted(f'numbers.{PLACE}, {self._listed}')})"

    @property
    def in_order(self) -> str:
        """The query for all rows in their order: to the same bytes for the same rows, whatever files they came from."""
        if self.where:
            return f"SELECT source.* FROM {counted(f'({self.query}) AS source', self.count)}"
        return self._counted(self._listed)

    def _counted(self, listed: str) -> str:
        """The query for what is listed of all rows beside their numbers; it is computed behind the join."""
        return f"SELECT {listed} FROM {counted(f'{self.relation} AS source', self.count)}"


def relation(paths: list[Path]) -> str:
    """What stands behind FROM for Parquet files, one after the other, whose columns may come in any order."""
    return duck.parquet(paths, "union_by_name = true")


def of_files(paths: list[Path]) -> Rows:
    """The rows of Parquet files that have the same columns."""
    files = f"parquet_file_metadata([{duck.texts(map(duck.literal, paths))}])"
    count = duck.rows(f"SELECT sum(num_rows)::BIGINT FROM {files}")[0][0]
    return of_relation(relation(paths))._replace(count=count, paths=paths)


def of_relation(source: str) -> Rows:
    """The columns of what stands behind FROM, of a table of unknown length."""
    types = duck.columns(source)
    return Rows(source, {name: duck.name(name) for name in types}, types, 0, [])


def check_names(names: Iterable[str], source: str | Path) -> None:
    """Refuse columns of the same name, for which of them is meant cannot be told; also if only the case differs.

    And the name that DuckDB has for a row's number in its file.
    """
    seen = {}
    for name in names:
        if not name:
            raise UserError(f"{source} has a column without a name; give it one")
        if name.casefold() == PLACE:
            raise UserError(f"{source} has a column named {name!r}, which is reserved for row numbers; rename it")
        if name.casefold() in seen:
            twin = seen[name.casefold()]
            raise UserError(
                f"{source} has columns {twin!r} and {name!r}; names must differ by more than case, rename one"
            )
        seen[name.casefold()] = name


def unreadable(source: str | Path, error: Exception) -> UserError:
    """What is said of a file that is not what its name says."""
    return UserError(f"{source} cannot be read as its name says: {in_short(error)}; save it anew")


def in_short(error: Exception) -> str:
    """DuckDB's reason without the line that it quotes, and without its advice, which is about options of its own."""
    said = str(error).split("\n\n")[0].split("Possible ")[0].split("Error: ", 1)[-1]
    return reason(" ".join(line for line in said.splitlines() if not line.startswith("Original Line")))[:200]
