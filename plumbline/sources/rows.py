"""A table as SQL over Parquet files, whatever source it came from: DuckDB goes through it without loading it whole."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from plumbline.basics.errors import UserError, reason
from plumbline.tables import duck
from plumbline.tables.store import PLACE, Spelling, counted

STAGED = 122_880  # rows of a row group in scratch files: DuckDB's default, and the fastest

Keep = Callable[[list[str]], list[str]]  # gives the columns to keep of all; UserError if one is missing


class Rows(NamedTuple):
    """The rows of a table, as a query for them."""

    relation: str  # what stands behind FROM
    select: dict[str, str]  # an SQL expression for each column, by its name
    types: dict[str, str]  # and DuckDB's type of its values
    count: int
    paths: list[Path]  # the Parquet files that the relation reads
    file: Path | None = None  # the Parquet file that holds exactly these rows and columns, if there is one
    where: str = ""  # a condition that `count` rows meet, if not all do
    places: Callable[[list[int]], list[str]] | None = None  # where rows of these numbers stand in a file of text
    declared: frozenset[str] = frozenset()  # columns of text that the file says are categories
    index: tuple[str, ...] = ()  # columns that the file says are its index
    has_point: bool = False  # whether the file surely writes decimal points, or can have no decimal commas
    spellings: Mapping[str, Spelling] = {}  # of columns that are text in the file, and numbers or dates here

    def only(self, kept: list[str]) -> "Rows":
        """The same rows with these columns alone, in their order in the table."""
        select = {name: sql for name, sql in self.select.items() if name in kept}
        return self._replace(select=select, types={name: self.types[name] for name in select})

    def placed(self, numbers: list[int]) -> list[str]:
        """In words, where rows stand in the source. The numbers are from 0, in ascending order."""
        return self.places(numbers) if self.places else [f"row {number}" for number in numbers]

    def unreadable(self, source: str | Path, error: Exception) -> UserError:
        """The error to raise when a query has failed: it names the file that is damaged, or else the source."""
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
        """The query to write a table with: the same rows make the same bytes, whatever files they came from."""
        if self.where:
            return f"SELECT source.* FROM {counted(f'({self.query}) AS source', self.count)}"
        return self._counted(self._listed)

    def _counted(self, listed: str) -> str:
        """The query for SQL expressions over all rows and their numbers; `where` is not looked at."""
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
    """The columns of what stands behind FROM. How many rows there are is not counted: `count` is 0."""
    types = duck.columns(source)
    return Rows(source, {name: duck.name(name) for name in types}, types, 0, [])


def check_names(names: Iterable[str], source: str | Path) -> None:
    """Refuse two columns of the same name, also if only the case differs, and a column without a name.

    Also refused is the name that DuckDB has for a row's number in its file.
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
    """The error for a file that is not what its name says."""
    return UserError(f"{source} cannot be read as its name says: {in_short(error)}; save it anew")


def in_short(error: Exception) -> str:
    """DuckDB's reason, without the line that it quotes and without its advice about options of DuckDB."""
    said = str(error).split("\n\n")[0].split("Possible ")[0].split("Error: ", 1)[-1]
    return reason(" ".join(line for line in said.splitlines() if not line.startswith("Original Line")))[:200]
