"""A .sql file: one SELECT over local tables, which DuckDB answers.

Files that it selects from are read as make_data.source would be. The query runs on one thread, so that rows come in the
same order each time. It may read only what the stage's deps in dvc.yaml name, for DVC would not see another file
change.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from plumbline.basics import formats, inputs
from plumbline.basics.errors import UserError
from plumbline.sources import parquet
from plumbline.sources.rows import STAGED, Keep, Rows, check_names, in_short
from plumbline.tables import duck

STAGE = "dvc.yaml"
# Words and functions that have another value each time, or on another machine
WORDS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
FUNCTIONS = WORDS | {"random", "setseed", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "now", "today", "nextval"}
FUNCTIONS |= {"currval", "get_current_time", "get_current_timestamp", "transaction_timestamp", "current_localtime"}
FUNCTIONS |= {"current_localtimestamp", "current_setting", "version"}
END = re.compile(r"(;\s*(--[^\n]*\s*|/\*.*?\*/\s*)*)+\Z", re.DOTALL)
REFUSED = re.compile(r'Cannot access (?:file|directory) "(.*?)"')


def read(path: Path, folder: Path, keep: Keep, table: Callable[[Path, Path], Rows], declared: bool) -> Rows:
    """The rows that a query finds, written as a Parquet file into `folder`.

    table: reads a file that the query selects from; it is given the file, and a folder for scratch files. declared:
    whether dvc.yaml must name all that is read.
    """
    inputs.watch(path)
    sql, nodes = _parsed(path)
    changing = next(filter(None, map(_changes, nodes)), None)
    if changing:
        raise UserError(f"{path} has {changing}, which is another each time; write the value that is meant")
    for function in nodes:  # such as read_csv: DuckDB reads these files itself, so they are watched here
        if function.get("type") == "TABLE_FUNCTION":
            values = [node["value"] for node in _nodes(function) if isinstance(node.get("value"), str)]
            for place in filter(Path.exists, map(_place, values)):
                inputs.watch(place)
    deps = _deps() if declared else []
    places = tables(path)
    unknown = [place for place in places if not any(Path(place).resolve().is_relative_to(dep) for dep in deps)]
    if declared and unknown:
        raise _undeclared(path, unknown)
    views, readable = {}, []
    for place in places:
        inside = folder / f"input{len(views)}"
        inside.mkdir()
        rows = table(Path(place), inside)
        views[place] = rows.query
        readable += rows.paths
    answer = folder / "query.parquet"
    try:
        names = duck.answer(sql, views, answer, STAGED, deps + readable if declared else None)
    except duck.Error as error:
        refused = REFUSED.search(str(error))
        if refused and declared:
            raise _undeclared(path, [refused[1]]) from None
        raise UserError(f"{path} cannot be answered ({in_short(error)}); mend the query") from None
    check_names(names, path)
    return parquet.read(path, [answer], keep, {})


def tables(path: Path) -> list[str]:
    """The files and folders that a query selects from."""
    named = [node["qualified_name"]["path"] for node in _parsed(path)[1] if node.get("type") == "BASE_TABLE"]
    there = dict.fromkeys(place for parts in named if Path(place := ".".join(parts)).exists())
    for place in there:
        if [place] not in named:  # the name came in parts: DuckDB would read the file itself, and guess
            raise UserError(f"{path} names {place} without quotes; write '{place}'")
    return list(there)


def _parsed(path: Path) -> tuple[str, list[dict]]:
    """The query's text, and all nodes of its syntax tree."""
    try:
        sql = END.sub("", path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text ({error.reason}); save it anew") from None
    said = json.loads(duck.rows(f"SELECT json_serialize_sql({duck.text(sql)})")[0][0])
    if said["error"] or len(said["statements"]) != 1:
        problem = said.get("error_message") or f"{len(said['statements'])} statements"
        raise UserError(f"{path} must hold one SELECT and nothing else ({problem}); mend the query")
    return sql, list(_nodes(said))


def _nodes(of: object) -> Iterator[dict]:
    if isinstance(of, dict):
        yield of
    for each in of.values() if isinstance(of, dict) else of if isinstance(of, list) else []:
        yield from _nodes(each)


def _changes(node: dict) -> str | None:
    """What a node has that changes from run to run, in words; None if nothing does."""
    sample = node.get("sample")
    if sample and not sample["repeatable"]:
        return "a sample without REPEATABLE"
    function, words = node.get("function_name", ""), node.get("column_names") or []
    if function.lower() in FUNCTIONS:
        return repr(function)
    return repr(words[0]) if len(words) == 1 and str(words[0]).lower() in WORDS else None


def _deps() -> list[Path]:
    """The deps of the stage make_data; none without a dvc.yaml."""
    said = formats.read_yaml(formats.content(STAGE), STAGE) if Path(STAGE).exists() else None
    try:
        deps = said["stages"]["make_data"]["deps"]
    except (TypeError, KeyError):  # none are declared
        deps = None
    return [Path(dep).resolve() for dep in deps or [] if isinstance(dep, str) and "$" not in dep]


def _place(name: str) -> Path:
    """The file of this name; of a pattern such as data/*.csv the folder in which its files are."""
    before = re.split(r"[*?\[]", name)[0]
    return Path(name) if before == name else Path(before + "_").parent


def _undeclared(path: Path, names: list[str]) -> UserError:
    places = [_place(name) for name in names]
    gone = [place for place in places if not place.exists()]
    if gone:
        return UserError(f"{path} reads {gone[0]}, which is not there; a query is about local files")
    lines = " and ".join(f"`- {place}`" for place in places)
    return UserError(
        f"{path} reads {' and '.join(map(str, places))}, which the deps of the stage make_data do not name, so DVC "
        f"would not see a change; add to them in {STAGE}: {lines}"
    )
