"""Numbers and dates in another spelling are what they are, in CSV and Parquet, or refused; their twin is plain."""

import datetime

import pandas as pd
import pytest

from plumbline.sources import labels, source
from plumbline.tables import duck, store

N = 60
WHOLE = [(i * 7919) % 9000 + 100 for i in range(N)]  # of three and four digits
REAL = [round((i * 7919) % 9000 + 100 + (i % 97) / 100, 2) * (-1) ** i for i in range(N)]
DAYS = [datetime.date(2019, 1, 1) + datetime.timedelta(days=(i * 37) % 1500) for i in range(N)]
TIMES = [datetime.datetime(2019, 1, 1, 3) + datetime.timedelta(minutes=i * 37_123) for i in range(N)]


def made(path, decimal=None, dates=None, texts=("y",)):
    """What make_data makes of a file: types, rows, spellings."""

    class Make:
        source, sheet, target, drop = str(path), None, "y", []

    Make.decimal, Make.dates = decimal, dates
    output = path.parent / "dataset.parquet"
    with source.opened(Make, None, output) as rows:
        labelled = labels.of(rows, Make.source, "y")
        facts = store.Facts("y", list(labelled.counts), list(labelled.counts.values()), None)
        with source.copying(rows, labelled, output, facts) as table:
            return table.columns, duck.rows(f"SELECT * FROM {table.relation}"), dict(rows.spellings)


def written(folder, cells, kind, other=None):
    """A table with a column x, and another, in a file of a kind: .csv, .tsv (semicolons) or .parquet."""
    frame = pd.DataFrame(
        {"x": cells, "other": other or [i / 8 for i in range(len(cells))], "y": ["a", "b"] * (len(cells) // 2)}
    )
    path = folder / ("t.parquet" if kind == ".parquet" else "t.csv")
    if kind == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep=";" if kind == ";" else ",")
    return path


def grouped(value, mark=",", decimals=0):
    return f"{value:,.{decimals}f}".replace(",", "_").replace(".", "," if mark == "." else ".").replace("_", mark)


def indian(value):
    head, tail = str(value)[:-3], str(value)[-3:]
    return tail if not head else indian(int(head))[:0] + ",".join([*_pairs(head), tail])


def _pairs(head):
    return ([head[:1]] if len(head) % 2 else []) + [head[i : i + 2] for i in range(len(head) % 2, len(head), 2)]


NUMBERS = {
    "text": (WHOLE, str),
    "text with decimals": (REAL, str),
    "commas": (WHOLE, grouped),
    "points": ([w * 1000 for w in WHOLE], lambda w: grouped(w, ".")),
    "spaces": (WHOLE, lambda w: grouped(w, " ")),
    "narrow no-break spaces": (WHOLE, lambda w: grouped(w, "\u202f")),
    "no-break spaces": (WHOLE, lambda w: grouped(w, "\xa0")),
    "apostrophes": (WHOLE, lambda w: grouped(w, "'")),
    "right quotes": (WHOLE, lambda w: grouped(w, "\u2019")),
    "Indian": ([w * 1000 for w in WHOLE], indian),
    "decimals and commas": (REAL, lambda v: grouped(v, ",", 2)),
    "decimal commas": (REAL, lambda v: f"{v:.2f}".replace(".", ",")),
    "decimal commas and points": (REAL, lambda v: grouped(v, ".", 2)),
    "decimal commas and spaces": (REAL, lambda v: grouped(v, " ", 2).replace(".", ",")),
    "dollars": (WHOLE, lambda w: f"$ {w:,}"),
    "dollars close": (REAL, lambda v: f"{'-' if v < 0 else ''}${abs(v):,.2f}"),
    "dollars, then minus": (REAL, lambda v: f"${v:,.2f}"),
    "euros behind": (REAL, lambda v: grouped(v, ".", 2) + " €"),
    "a code before": (REAL, lambda v: f"USD {v:,.2f}"),
    "a code behind": (REAL, lambda v: f"{v:.2f} CHF"),
    "percent": (REAL, lambda v: f"{v} %"),
    "percent close": (WHOLE, lambda w: f"{w}%"),
    "accounting": (REAL, lambda v: f"({-v:,.2f})" if v < 0 else f"{v:,.2f}"),
    "accounting dollars": (REAL, lambda v: f"(${-v:,.2f})" if v < 0 else f"${v:,.2f}"),
    "trailing minus": (REAL, lambda v: f"{-v:.2f}-" if v < 0 else f"{v:.2f}"),
    "U+2212": (REAL, lambda v: f"{v}".replace("-", "\u2212")),
    "a plus and a minus": (REAL, lambda v: f"{v:+}"),
}
DATES = {
    "day first": (DAYS, "%d/%m/%Y"),
    "points": (DAYS, "%d.%m.%Y"),
    "month first": (DAYS, "%m/%d/%Y"),
    "no zeros": (DAYS, "%-m/%-d/%Y"),
    "slashes": (DAYS, "%Y/%m/%d"),
    "text": (DAYS, "%Y-%m-%d"),
    "two digits": (DAYS, "%d/%m/%y"),
    "two digits, month first": (DAYS, "%m-%d-%y"),
    "names": (DAYS, "%d %B %Y"),
    "short names": (DAYS, "%d-%b-%Y"),
    "names first": (DAYS, "%b %d, %Y"),
    "short years": (DAYS, "%d-%b-%y"),
    "weekdays": (DAYS, "%A, %B %d, %Y"),
    "clocks": (TIMES, "%d/%m/%Y %H:%M"),
    "a.m. and p.m.": (TIMES, "%m/%d/%Y %I:%M:%S %p"),
    "ISO with T": (TIMES, "%Y-%m-%dT%H:%M:%S"),
    "no zeros in clocks": (TIMES, "%-d.%-m.%Y %-H:%M"),
}


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("kind", [",", ";", ".parquet"])
@pytest.mark.parametrize("how", NUMBERS)
def test_numbers_are_read_however_they_are_written(tmp_path, how, kind, few, capsys):
    values, write = NUMBERS[how]
    values = [*values[:3], values[3] // 10 * 10] * (N // 4) if few else values
    types, rows, spellings = made(written(tmp_path, [write(value) for value in values], kind))
    assert [row[0] for row in rows] == values
    assert types["x"] == ("BIGINT" if all(isinstance(value, int) for value in values) else "DOUBLE")
    if "x" in spellings:
        assert "column 'x' is text, read as numbers" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [",", ";", ".parquet"])
@pytest.mark.parametrize("how", DATES)
def test_dates_are_read_however_they_are_written(tmp_path, how, kind, capsys):
    values, form = DATES[how]
    _, rows, _ = made(written(tmp_path, [value.strftime(form) for value in values], kind))
    assert [row[0] for row in rows] == values
    assert form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S") or "column 'x' is text, read as dates" in capsys.readouterr().out
