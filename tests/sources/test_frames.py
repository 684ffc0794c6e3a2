"""What stands around a table in a CSV: left out and said where it is certain, else refused with its line."""

import pyarrow.parquet as pq
import pytest

from plumbline.basics.errors import UserError
from plumbline.sources import source

PLAIN = "a;b;y\n1;2.5;Yes\n3;4.5;No\n5;7.0;Yes\n"
ROWS = "1;2.5;Yes\n3;4.5;No\n5;7.0;Yes\n"


def read(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return pq.read_table(source.table(path, path.parent).path)


@pytest.mark.parametrize(
    "text, said",
    [
        ("sep=;\n" + PLAIN, "line 1 says what separates cells"),
        ('"sep=;"\r\n' + PLAIN.replace("\n", "\r\n"), "line 1 says what separates cells"),
        ("sep=;\nReport\n\n" + PLAIN, "line 2 above the header: left out ('Report')"),
        ("# exported by the lab\n" + PLAIN, "line 1 above the header: left out ('# exported by the lab')"),
        ("# one; two; three; and four\n# two\n" + PLAIN, "lines 1 to 2 above the header"),
        ("Report 2024\n\n" + PLAIN, "line 1 above the header: left out ('Report 2024')"),
        ("Report 2024;;\n;;\n" + PLAIN, "lines 1 to 2 above the header"),
        ('"Sales, by\nregion"\n' + PLAIN, "line 1 above the header"),
        ("By region, in EUR\n" + PLAIN, "line 1 above the header"),
        ("a;b;y;\n" + ROWS, None),
        ("a;b;y\n" + ROWS.replace("\n", ";\n"), "each line ends in a separator"),
        (PLAIN.replace("\n", ";\n"), "each line ends in a separator"),
        (PLAIN.replace("\n", ";;;\n"), "each line ends in a separator"),
        (PLAIN.replace(";", "; "), "spaces behind separators are left out"),
        (PLAIN.replace("Yes", '"Yes"').replace(";", "; "), "spaces behind separators are left out"),
        ("a;b;y\n" + ROWS.replace(";", "; "), "spaces behind separators are left out"),
        (" a ;b;y\n" + ROWS, "names are taken without the spaces around them, as of ' a '"),
        ("a;b;y\nkg;m/s;\n" + ROWS, "line 2 has units, and is left out ('kg;m/s;')"),
        ("a;b;y\n[years];(EUR);-\n" + ROWS, "line 2 has units, and is left out"),
        (PLAIN + "\n\n", None),
    ],
)
def test_what_is_certain_is_left_out_and_the_table_is_the_same(tmp_path, capsys, text, said):
    plain = read(tmp_path / "plain.csv", PLAIN)
    assert not capsys.readouterr().out
    assert read(tmp_path / "t.csv", text).equals(plain)
    out = capsys.readouterr().out
    assert (f"{tmp_path / 't.csv'}: {said}" in out) if said else not out


def test_commas_of_a_title_and_of_decimals_separate_nothing(tmp_path):
    table = read(tmp_path / "t.csv", "Sales, by region, 2024\na;b;y\n" + ROWS.replace(".", ","))
    assert (table.column_names, table.num_rows) == (["a", "b", "y"], 3)


@pytest.mark.parametrize(
    "last",
    [
        "Total;9;12.5;",
        "Sum:;9;12.5;",
        ";;;\nGRAND TOTAL;9;12.50;",
        "Mean;3;4.17;",
        "All;9;12.5;No",
        "Overall;9;12.5;",
        ";9;12.5;total",
        "Summe;9;12,5;",
    ],
)
def test_totals_in_the_last_line_are_left_out_if_they_are_those(tmp_path, capsys, last):
    rows = "k;a;b;y\nu;1;2.5;Yes\nv;3;4.0;No\nw;5;6.0;Yes\n"
    table = read(tmp_path / "t.csv", rows + last + "\n")
    assert table.column("a").to_pylist()[:3] == [1, 3, 5]
    assert table.num_rows <= 4
    assert "has the totals of those above, and is left out" in capsys.readouterr().out
    assert read(tmp_path / "t.csv", rows + "Total;9;12.5;No\nTotal;1;1.5;No\n").num_rows == 5


@pytest.mark.parametrize(
    "text, words",
    [
        ("a;b\n" + ROWS, ["t.csv line 1: the header has 2 cells separated by semicolons", "lines below it have 3"]),
        ("a;b;c;y\n" + ROWS, ["t.csv line 1: the header has 4 cells", "lines below it have 3"]),
        ("a\n" + ROWS, ["t.csv line 1: the header has 1 cells", "lines below it have 3"]),
        ("Report\n" + ROWS, ["t.csv line 1: the header has 1 cells", "lines below it have 3"]),
        ("age;mass;y\na;b;y\n" + ROWS, ["t.csv lines 1 and 2 are both names ('age;mass;y', 'a;b;y')", "one header"]),
        (
            ";blood;blood\nid;glucose;hdl\n" + ROWS.replace("Yes", "2").replace("No", "3"),
            ["lines 1 and 2 are both names"],
        ),
        (
            "a;b;y\n1;2.5;Yes;\n3;4.5;No;\n5;7.0;Yes;no\n5;7.0;Yes;\n" + "1;2;x;\n" * 200,
            ["line 1: the header has 3 cells"],
        ),
        ("a;b;y\n" + "1;2;x;\n" * 200 + "1;2;x;no\n", ["t.csv line 202: 'no' stands below no name"]),
        (PLAIN + "Total;1;9\n", ["t.csv line 5: 'Total' is a word for totals", "no sums", "remove that line"]),
        (PLAIN + "Source: Lab\n", ["t.csv line 5: 1 cells"]),
        ("sep=^\na^b\n1^2\n", ["t.csv line 1 says that '^' separates cells", "semicolons"]),
    ],
)
def test_what_is_not_is_refused_with_its_line(tmp_path, text, words):
    with pytest.raises(UserError) as error:
        read(tmp_path / "t.csv", text)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "text, rows",
    [
        ("a;b;y\nunknown;2;x\n1;3;x\n2;4;z\n", 3),  # one odd cell makes no header
        ("2019;2020;y\n1;3;x\n2;4;z\n2;4;z\n", 3),
        ("#id;b;y\n1;3;x\n2;4;z\n", 2),
        ("a;b;y\nred;blue;x\ngreen;blue;z\n", 2),
        ("a;b;y\nNA;;x\n1;3;x\n2;4;z\n3;5;x\n", 4),
    ],
)
def test_an_ordinary_table_has_no_frame(tmp_path, capsys, text, rows):
    assert read(tmp_path / "t.csv", text).num_rows == rows
    assert not capsys.readouterr().out
