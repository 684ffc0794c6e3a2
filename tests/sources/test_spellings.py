"""Numbers and dates in another spelling are what they are, in CSV and Parquet, or refused; their twin is plain."""

import datetime

import pandas as pd
import pytest

from plumbline.basics.errors import UserError
from plumbline.model import model
from plumbline.sources import in_memory, labels, source
from plumbline.tables import duck, encoding, store

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
    head, tail = divmod(value, 1000)
    pairs = []
    while head:
        head, pair = divmod(head, 100)
        pairs.insert(0, f"{pair:02}" if head else str(pair))
    return ",".join([*pairs, f"{tail:03}"])


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
    "a dash": (REAL, lambda v: f"{v}".replace("-", "\u2013")),
    "no cents": ([float(w) for w in WHOLE], lambda w: f"{w:.0f}.-"),
    "no cents and euros": ([w * 1000.0 for w in WHOLE], lambda w: f"{grouped(w, '.')},- \N{EURO SIGN}"),
    "wide digits": (WHOLE, lambda w: str(w).translate({48 + i: 0xFF10 + i for i in range(10)})),
    "Arabic digits": (WHOLE, lambda w: str(w).translate({48 + i: 0x660 + i for i in range(10)})),
    "what nobody sees": (WHOLE, lambda w: f"\ufeff{w}\u200b"),
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


@pytest.mark.parametrize("how", NUMBERS)
def test_numbers_are_read_however_they_are_written(tmp_path, how, capsys):
    """In a CSV, in one with semicolons, and, few different ones, in Parquet."""
    values, write = NUMBERS[how]
    few = [*values[:3], values[3] // 10 * 10] * (N // 4)
    for kind, some in ((",", values), (";", values), (".parquet", few)):
        types, rows, spellings = made(written(tmp_path, [write(value) for value in some], kind))
        assert [row[0] for row in rows] == some
        assert types["x"] == ("BIGINT" if all(isinstance(value, int) for value in some) else "DOUBLE")
        assert not spellings or "column 'x' is text, read as numbers" in capsys.readouterr().out


@pytest.mark.parametrize("how", DATES)
def test_dates_are_read_however_they_are_written(tmp_path, how, capsys):
    values, form = DATES[how]
    for kind in (";", ".parquet"):
        _, rows, spellings = made(written(tmp_path, [value.strftime(form) for value in values], kind))
        assert [row[0] for row in rows] == values
        assert not spellings or "column 'x' is text, read as dates" in capsys.readouterr().out


def test_the_end_of_a_day_is_the_next_one_in_a_csv_and_in_text_of_parquet(tmp_path):
    found = [
        made(written(tmp_path, ["2021-01-05 24:00", "2021-01-05 10:00"] * 3, kind))[1] for kind in (",", ".parquet")
    ]
    assert found[0] == found[1]
    assert found[0][0][0] == datetime.datetime(2021, 1, 6)


def test_other_languages_zones_and_months(tmp_path):
    for cells, values in (
        (
            ["1er mai 2021", "17 août 2020", "3. Dez. 2019", "14 de março de 2021"],
            ["2021-05-01", "2020-08-17", "2019-12-03", "2021-03-14"],
        ),
        (["Mar 2021", "December 2020"], ["2021-03-01", "2020-12-01"]),
        (
            ["2021-03-04T10:00:00+01:00", "Thu, 4 Mar 2021 10:00 -0500"],
            ["2021-03-04 09:00:00+00", "2021-03-04 15:00:00+00"],
        ),
        (
            ["04/Mar/2021:10:00:00 +0000", "05/Mar/2021:23:59:59 Z"],
            ["2021-03-04 10:00:00+00", "2021-03-05 23:59:59+00"],
        ),
        (["9:05 PM", "12:00 am"], ["21:05:00", "00:00:00"]),
    ):
        made(written(tmp_path, cells * 2, ","))
        found = duck.rows(f"SELECT x::VARCHAR FROM '{tmp_path / 'dataset.parquet'}'")
        assert [row[0] for row in found] == values * 2


@pytest.mark.parametrize(
    "cells",
    [
        ["007", "12", "15"],
        ["007.5", "12.5"],
        ["12345678901234567890", "1"],
        ["9,500,000,000,000,000,000", "1,000"],
        ["+49 170 1234567", "+49 171 7654321"],
        ["555-0101", "555-0102"],
        ["12-34-56", "12-35-99"],
        ["1.2.3", "1.10.0"],
        ["1234 5678", "2345 6789"],
        ["10-20", "20-30"],
        ["120/80", "130/85"],
        ["2021-W10", "2021-W11"],
        ["1 May Street", "May"],
        ["125:30", "99:10"],
        ["5 kB", "7 MB"],
    ],
)
def test_what_is_no_number_and_no_date_stays_text(tmp_path, cells):
    for kind in (",", ".parquet"):
        assert [row[0] for row in made(written(tmp_path, cells * 6, kind))[1]] == cells * 6


COMMAS = [f"{i},5" for i in range(N)]
MANY = [f"${i * 37:,}" for i in range(N - 2)]


@pytest.mark.parametrize(
    "cells, other, words",
    [
        (
            ["3/4/2021", "5/6/2021"],
            None,
            ["'3/4/2021' (line 2) and all others may be day first or month first", "make_data.dates"],
        ),
        (["1.842", "2.500"], COMMAS, ["'1.842' (line 2) may be over a thousand", "make_data.decimal"]),
        (["1,842", "2,501"], COMMAS, ["'1,842' (line 2) may be over a thousand", "make_data.decimal"]),
        (["4.200", "800"], COMMAS, ["'4.200' (line 2) may be over a thousand"]),
        (["25/12/2021", "12/25/2021"], None, ["no one order", "'12/25/2021' (line 3)", "'25/12/2021' (line 2)"]),
        (["01/02/03", "04/05/06"], None, ["'01/02/03' (line 2)", "day first or month first or year first"]),
        (["2021-03-04", "25/03/2021"], None, ["in two ways: '2021-03-04' (line 2), '25/03/2021' (line 3)", "swapped"]),
        (["2021-03-30", "25/03/2021"], None, ["in two ways: '2021-03-30' (line 2)"]),
        (["25.03.2021", "03/04/2021"], None, ["in two ways: '03/04/2021' (line 3), '25.03.2021' (line 2)"]),
        (["12/03/45", "13/03/50"], None, ["the century of '12/03/45' (line 2)", "four digits"]),
        (["5%", "0.05"], None, ["'0.05' (line 3) and '5%' (line 2)", "a share or a percentage"]),
        (["$5", "\N{EURO SIGN}6"], None, ["'$5' and '\N{EURO SIGN}6'", "one unit"]),
        (["0.5", "0,5"], None, ["decimal point in '0.5' (line 2) and a comma in '0,5' (line 3)"]),
        (["2021-03-04 10:00Z", "2021-03-04 10:00"], None, ["with a zone and without: '2021-03-04 10:00' (line 3)"]),
        (
            [*MANY, "unknown", "?"],
            None,
            ["2 cells of text ('unknown' in line 60, '?' in line 61)", "mend or empty"],
        ),
        (
            ["none", "-"] * 15 + [str(i) for i in range(N // 2)],
            None,
            ["numbers and 30 cells of text ('none' in line 2, '-' in line 3", "mend or empty"],
        ),
        (
            [f"{i % 28 + 1}/03/2021" for i in range(N - 1)] + ["31/02/2021"],
            None,
            ["dates, and some that there are not: '31/02/2021' in line 61; mend"],
        ),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_in_one_line(tmp_path, cells, other, words):
    cells = cells if len(cells) == N else cells * (N // 2)
    with pytest.raises(UserError) as error:
        made(written(tmp_path, cells, ";", other))
    for word in ["column 'x'", *words]:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_setting_says_what_is_left_open_and_nothing_else(tmp_path):
    path = written(tmp_path, ["1.842", "800"] * (N // 2), ";", COMMAS)
    assert made(path, decimal=",")[1][:2] == [(1842, 0.5, "a"), (800, 1.5, "b")]
    assert made(path, decimal=".")[1][:2] == [(1.842, 0.5, "a"), (800.0, 1.5, "b")]
    path = written(tmp_path, ["3/4/2021", "5/6/2021"] * 2, ",")
    assert made(path, dates="day-first")[1][0][0] == datetime.date(2021, 4, 3)
    assert made(path, dates="month-first")[1][0][0] == datetime.date(2021, 3, 4)
    path = written(tmp_path, ["3/14/2021", "5/6/2021"] * 2, ",")
    assert made(path, dates="day-first")[1][0][0] == datetime.date(2021, 3, 14)


def test_cells_further_down_decide_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr("plumbline.sources.spellings.SAMPLE", 2)
    assert made(written(tmp_path, ["1/2/2021"] * 50 + ["25/2/2021"] * 2, ","))[1][0][0] == datetime.date(2021, 2, 1)
    assert made(written(tmp_path, ["1,5"] * 50 + ["x", "y"] * 30, ";"))[0]["x"] == "VARCHAR"
    with pytest.raises(UserError, match="decimal point"):
        made(written(tmp_path, ["1,5"] * 50 + ["2.5", "3.5"], ";"))


@pytest.mark.parametrize(
    "write, said",
    [
        (lambda w: f"{w} kg", ""),  # profiling/warnings.py says what it may be
        (lambda w: f"{'ABCDEFGH'[w % 8]}{w}" if w % 3 == 0 else str(w), "are no numbers, such as '"),
        (lambda w: f"10.{w % 9}.{w % 80}.{w % 7}", ""),
        (lambda w: f"{w}-{w + 9}", ""),
        (lambda w: f"{w % 9} rooms", ""),
    ],
)
def test_numbers_that_stay_text_are_said(tmp_path, write, said, capsys):
    assert made(written(tmp_path, [write(w) for w in WHOLE], ","))[0]["x"] == "VARCHAR"
    out = capsys.readouterr().out
    assert said in out if said else not out


def test_truth_values_are_such_in_a_csv_and_in_text_of_parquet(tmp_path):
    cells = ["True", "FALSE", "", "true"] * 15
    found = [made(written(tmp_path, cells, kind))[:2] for kind in (",", ".parquet")]
    assert found[0] == found[1]
    assert [row[0] for row in found[1][1][:4]] == [True, False, None, True]
    for numbers in fitted_on(tmp_path, ["True", "False"] * (N // 2), ".parquet")(["false", "True"]):
        assert numbers == [0.0, 1.0]


@pytest.mark.parametrize("row", [0, N - 1])
@pytest.mark.parametrize(
    "cells, odd, found",
    [
        ("1.5", "0012", "stays text: '0012' (line {}) is written as a code"),
        ("1.5", "-0012.5", "stays text: '-0012.5' (line {})"),
        ("1.5", " +0012", "stays text: ' +0012' (line {})"),
        ("1.5", "12345678901234567890", "stays text: '12345678901234567890' (line {})"),
        ("1.5", "1_000", "stays text"),
        ("1.5", "1,234", 1234.0),
        ("1.5", "$5", 5.0),
        ("1.5", "n/a", None),
        ("1.5", "\xa0", None),
        ("15", "+5", "stays text: '+5' (line {}) has a plus, and none a minus"),
        ("2021-01-05", "31/12/2021", "UserError: dates written in two ways: .*line"),
        ("2021-01-05", "2021-13-01", "UserError: dates, and some that there are not: '2021-13-01' in line {}; mend"),
        ("5.1.2021", "31.02.2021", "UserError: dates, and some that there are not: '31.02.2021' in line {};"),
        ("10:05", "10:61", "UserError: times of day, and some that there are not: '10:61' in line {}; mend"),
        ("10:05", "25:00", "UserError: times of day, and some that there are not: '25:00' in line {}; mend"),
    ],
)
def test_a_cell_says_the_same_wherever_it_stands(tmp_path, monkeypatch, capsys, cells, odd, found, row):
    """In the rows that a column's type is first told by, and beyond these."""
    monkeypatch.setattr("plumbline.sources.delimited.SAMPLE", 30)
    path = written(tmp_path, [odd if i == row else cells for i in range(N)], ",")
    line = row + 2
    if str(found).startswith("UserError"):
        with pytest.raises(UserError, match=found.split(": ", 1)[1].format(line)):
            made(path)
        return
    value = made(path)[1][row][0]
    if isinstance(found, str):
        assert value == odd
        assert found.format(line) in capsys.readouterr().out or odd == "1_000"  # beside one number a category
    else:
        assert value == found


@pytest.mark.parametrize("engine", ["pandas", "polars", "duckdb", "csv"])
@pytest.mark.parametrize("labels", [["u", "v", "w"], ["1", "2", "3"]])
def test_who_wrote_a_column_makes_no_difference(tmp_path, engine, labels, capsys):
    """Text, categorical or enum, but for numbers: a categorical of them stays one."""
    import polars

    cells, y = labels * 20, ["a", "b"] * 30
    path = tmp_path / ("t.csv" if engine == "csv" else "t.parquet")
    expected = labels * 20
    for kind in ("text", "category"):
        if engine == "pandas":
            pd.DataFrame({"x": pd.Series(cells, dtype="str" if kind == "text" else "category"), "y": y}).to_parquet(
                path
            )
        elif engine == "polars":
            dtype = polars.String if kind == "text" else polars.Enum(labels)
            polars.DataFrame({"x": polars.Series(cells, dtype=dtype), "y": y}).write_parquet(path)
        elif engine == "duckdb":
            dtype = "VARCHAR" if kind == "text" else f"ENUM ({duck.texts(labels)})"
            rows = ", ".join(f"('{x}', '{label}')" for x, label in zip(cells, y))
            duck.run(f"COPY (SELECT x::{dtype} AS x, y FROM (VALUES {rows}) AS t(x, y)) TO '{path}' (FORMAT parquet)")
        else:
            pd.DataFrame({"x": cells, "y": y}).to_csv(path, index=False)
        is_number = labels[0] == "1" and (
            kind == "text" or engine in ("duckdb", "csv")
        )  # DuckDB writes an enum as text
        assert [row[0] for row in made(path)[1]] == ([*map(int, expected)] if is_number else expected)
        said = capsys.readouterr().out
        assert ("'x' is a category, as the file declares it" in said) == (labels[0] == "1" and not is_number)


def test_six_and_six_point_nought_are_one_category(tmp_path):
    frame = pd.DataFrame({"x": pd.Categorical([6, 7, 8] * 20), "y": ["a", "b"] * 30})
    frame.to_parquet(tmp_path / "t.parquet")
    assert [row[0] for row in made(tmp_path / "t.parquet")[1]] == ["6", "7", "8"] * 20
    fitted = encoding.fit(
        store.Table(tmp_path / "dataset.parquet", store.Facts("y", ["a", "b"], [30, 30], None)), "robust"
    )
    frame["x"] = pd.Categorical([6.0, 7.0, None] * 20)
    frame.to_parquet(tmp_path / "t.parquet")
    assert [row[0] for row in made(tmp_path / "t.parquet")[1]] == ["6", "7", None] * 20
    for new in (pd.Series([6.0, None]), pd.Series(["6.0", ""]), pd.Series([6.0, None]).astype("category")):
        pd.DataFrame({"x": new}).to_parquet(tmp_path / "new.parquet")
        assert encoding.encode(fitted, source.table(tmp_path / "new.parquet", tmp_path, fitted.texts))[0] == [0]


def test_a_files_index_and_row_numbers_without_a_name_are_left_out(tmp_path, capsys):
    frame = pd.DataFrame({"x": [1.5, 2.5] * 20, "y": ["a", "b"] * 20})
    frame.set_index(pd.Index([f"c{i}" for i in range(40)], name="customer")).to_parquet(tmp_path / "t.parquet")
    assert list(made(tmp_path / "t.parquet")[0]) == ["x", "y"]
    assert "column 'customer' is left out: the file's index" in capsys.readouterr().out
    frame.iloc[::-1].to_parquet(tmp_path / "t.parquet")
    assert list(made(tmp_path / "t.parquet")[0]) == ["x", "y"]
    for text in (
        frame.to_csv(),
        frame.sample(30, random_state=0).to_csv(),
        frame.to_csv().replace(",x", "Unnamed: 0,x", 1),
    ):
        (tmp_path / "t.csv").write_text(text)
        assert list(made(tmp_path / "t.csv")[0]) == ["x", "y"]
        assert "row numbers without a name" in capsys.readouterr().out
    (tmp_path / "t.csv").write_text(",y\n" + "1,a\n2,b\n3,a\n1,b\n" * 5)
    assert list(made(tmp_path / "t.csv")[0]) == ["column0", "y"]


def fitted_on(tmp_path, cells, kind=","):
    """The encoding of a table, and a function that encodes new cells in each kind of table."""
    _, _, spellings = made(written(tmp_path, cells, kind))
    facts = store.Facts("y", ["a", "b"], [N // 2, N // 2], None, spellings=spellings)
    fitted = encoding.fit(store.Table(tmp_path / "dataset.parquet", facts), "raw")

    def encoded(new):
        for kind in ("new.csv", "new.parquet", "frame"):
            frame = pd.DataFrame({"x": new, "other": 1.0})
            if kind == "frame":
                table = in_memory.table(frame, tmp_path, list)
            else:
                frame.to_csv(tmp_path / kind, index=False) if kind == "new.csv" else frame.to_parquet(tmp_path / kind)
                table = source.table(tmp_path / kind, tmp_path, fitted.texts)
            yield encoding.encode(fitted, table)[:, fitted.places[0][0]].tolist()

    return encoded


@pytest.mark.parametrize(
    "write, new, values",
    [
        (
            lambda w: f"$ {w:,}",
            ["$ 1,371", "$1371", " 1,371 ", "(1,371)"],
            [1371.0, 1371.0, 1371.0, -1371.0],
        ),
        (lambda w: f"{w / 8}".replace(".", ","), ["1,5", "2"], [1.5, 2.0]),
        (lambda w: f"{w / 8} %", ["1.5%", "0"], [1.5, 0.0]),
        (str, [" 5 ", "-7"], [5.0, -7.0]),
    ],
)
def test_new_rows_are_read_as_the_training_rows_were(tmp_path, write, new, values):
    for found in fitted_on(tmp_path, [write(w) for w in WHOLE])(new):
        assert found == values


@pytest.mark.parametrize(
    "write, new",
    [
        (lambda w: f"$ {w:,}", ["5", "$ 1.371"]),
        (lambda w: f"$ {w:,}", ["5", "\N{EURO SIGN} 5"]),
        (lambda w: f"$ {w:,}", ["5", "$ 1,37"]),
        (lambda w: f"{w / 8}".replace(".", ","), ["5", "1.842"]),
        (lambda w: f"{w / 8} %", ["5%", "5"]),
        (str, ["5", "1,842"]),
        (str, ["5", "007"]),
    ],
)
def test_a_new_row_that_is_written_otherwise_is_refused_by_column_and_line(tmp_path, write, new):
    encoded = fitted_on(tmp_path, [write(w) for w in WHOLE])(new)
    with pytest.raises(UserError, match=r"column 'x' holds '.+' in line 3, and the model was trained on numbers"):
        next(encoded)


def test_new_dates_are_read_as_the_training_rows_were(tmp_path):
    encoded = fitted_on(tmp_path, [day.strftime("%d.%m.%Y") for day in DAYS])
    for found in encoded(["13.02.2021", "3/2/2021", "2021-02-13", "13 Feb 2021"]):
        assert len(set(found)) == 2
        assert found[0] == found[2] == found[3]
    first, second = next(encoded(["2021-12-30", "30.12.2021"]))
    assert first == second
    with pytest.raises(UserError, match=r"holds '2\.13\.2021' in line 2, .* dates, day first such as '"):
        next(encoded(["2.13.2021"]))
    encoded = fitted_on(tmp_path, [f"{time:%d.%m.%Y %H:%M}" for time in TIMES])
    for wrong in ("13.02.2021 25:00", "30.02.2021 10:00", "13.02.2021 10:00Z", "13.02.45 10:00"):
        with pytest.raises(UserError, match=rf"holds '{wrong}' in line 3, .* dates with times, day first"):
            next(encoded(["13.02.2021", wrong]))


def test_a_twin_gives_the_same_model_and_the_same_predictions_to_the_bit(workspace):
    """Amounts in dollars with blank cells, and days as people write them, beside numbers, gaps and ISO 8601."""
    plain = pd.DataFrame({"x": [None, *WHOLE[1:]], "day": DAYS, "y": ["a", "b"] * (N // 2)}).astype({"x": "Int64"})
    local = plain.assign(
        x=[" ", *(f"$ {w:,}" for w in WHOLE[1:])], day=[day.strftime("%d.%m.%Y") for day in plain["day"]]
    )
    made_of = {}
    workspace.set(make_data__target="y", train__encoding="robust", train__epochs=1, train__replicas=1)
    for name, frame in (("plain.csv", plain), ("local.csv", local), ("local.parquet", local)):
        frame.to_csv(name, index=False) if name.endswith("csv") else frame.to_parquet(name)
        workspace.set(make_data__source=name)
        for stage in ("make_data", "split", "train"):
            workspace.run(stage)
        workspace.run("commands.predict", name, "--output", "scored.csv")
        weights = model.load("models/model.safetensors").weights
        made_of[name] = [*(array.tobytes() for array in weights.values()), workspace.read("scored.csv")]
    assert made_of["plain.csv"] == made_of["local.csv"] == made_of["local.parquet"]
