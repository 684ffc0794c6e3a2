"""A SQL query over local tables: a .sql file with one SELECT, which DuckDB answers.

Files that it selects from are read as make_data.source would be. It runs on one thread, so that rows come in the same
order each time. It sees no file but those in the stage's deps, for DVC would not see the others change.
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
# What has another value each time, or elsewhere: words, and functions
WORDS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
FUNCTIONS = WORDS | {"random", "setseed", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "now", "today", "nextval"}
FUNCTIONS |= {"currval", "get_current_time", "get_current_timestamp", "transaction_timestamp", "current_localtime"}
FUNCTIONS |= {"current_localtimestamp", "current_setting", "version"}
END = re.compile(r"(;\s*(--[^\n]*\s*|/\*.*?\*/\s*)*)+\Z", re.DOTALL)
REFUSED = re.compile(r'Cannot access (?:file|directory) "(.*?)"')


def read(path: Path, folder: Path, keep: Keep, table: Callable[[Path, Path], Rows], declared: bool) -> Rows:
    """The rows that the query finds, as a Parquet file in `folder`.

    table: reads a file that is selected from. declared: whether all that is read must stand in dvc.yaml.
    """
    inputs.watch(path)
    sql, nodes = _parsed(path)
    changing = next(filter(None, map(_changes, nodes)), None)
    if changing:
        raise UserError(f"{path} has {changing}, which is another each time; write the value that is meant")
    for function in nodes:  # such as read_csv, with which DuckDB reads in its own way
        if function.get("type") == "TABLE_FUNCTION":
            values = [node["value"] for node in _nodes(function) if isinstance(node.get("value"), str)]
            for place in filter(Path.exists, map(_place, values)):
                inputs.watch(place)
    deps, views, readable = _deps() if declared else [], {}, []
    places = tables(path)
    unknown = [place for place in places if not any(Path(place).resolve().is_relative_to(dep) for dep in deps)]
    if declared and unknown:
        raise _undeclared(path, unknown)
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
        if [place] not in named:  # DuckDB would read it in its own way
            raise UserError(f"{path} names {place} without quotes; write '{place}'")
    return list(there)


def _parsed(path: Path) -> tuple[str, list[dict]]:
    """The query's text, and all nodes of what it says."""
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
    """What is another each time the query runs, if that is what a node says."""
    sample = node.get("sample")
    if sample and not sample["repeatable"]:
        return "a sample without REPEATABLE"
    function, words = node.get("function_name", ""), node.get("column_names") or []
    if function.lower() in FUNCTIONS:
        return repr(function)
    return repr(words[0]) if len(words) == 1 and str(words[0]).lower() in WORDS else None


def _deps() -> list[Path]:
    """What the stage make_data depends on."""
    said = formats.read_yaml(formats.content(STAGE), STAGE) if Path(STAGE).exists() else None
    try:
        deps = said["stages"]["make_data"]["deps"]
    except (TypeError, KeyError):  # none are declared
        deps = None
    return [Path(dep).resolve() for dep in deps or [] if isinstance(dep, str) and "$" not in dep]


def _place(name: str) -> Path:
    """A file, or the folder of all that a pattern means."""
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
