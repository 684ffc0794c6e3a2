"""Foreign text in Markdown: whatever it holds, a parser of GitHub's kind finds it in code and nowhere else."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from plumbline.pages import markdown
from plumbline.pages.page import clean

HOSTILE = {
    "line ends": "y\n\n### better\r\n| a | b |\n|---|---|\n\u2028\u2029\x85\x0b\x0cend",
    "pipes": "a|b\\|c\\\\|d | e",
    "mention": "@acme/maintainers @octocat",
    "links": "[approve](http://evil.example) www.evil.example <http://e.example> a@b.example #12 GH-12 acme/x#1",
    "image": "![x](http://evil.example/x.png)",
    "commit": "3802c36d1e0f4b6a9c7e2d5f8a1b4c7d0e3f6a9b",
    "html": "</code></details><script>alert(1)</script><!-- --> &lt;b&gt; <img src=x onerror=y>",
    "emphasis": "**better** _x_ ~~y~~ __z__ $`\\frac{1}{2}`$ $x$ :tada:",
    "backtick": "`", "backticks": "``` a `` b ` c", "many": "`" * 500, "ends": "`x`", "runs": "`" * 79 + " " + "`" * 80,
    "backslash": "\\", "end": "x\\", "fence": "```\n@acme\n```", "tildes": "~~~\nx",
    "bidi": "a\u202eb\u2066c\u200fd", "unseen": "ma\u200bin\ufeff\u2060\u00ad", "tag": "a\U000e0041b",
    "joiner": "ma\u200din", "blank": "\u3164", "ansi": "\x1b[31mred\x1b[0m\x07\x9b1m", "null": "a\x00b",
    "long": "x" * 100_000, "wide": "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 500, "marks": "a" + "\u0301" * 500,
    "half": "\ud800x", "empty": "", "spaces": "   ", "list": "- x", "quote": "> x", "heading": "# x", "rule": "---",
}  # fmt: skip


def parsed(text):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def pieces(text):
    """What stands in code, and all else that a reader sees, of every line that is parsed for it."""
    inline = [child for token in parsed(text) if token.type == "inline" for child in token.children]
    code = [child.content for child in inline if child.type == "code_inline"]
    assert {child.type for child in inline} <= {"code_inline", "text"}
    return code, "".join(child.content for child in inline if child.type == "text")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_code_in_a_line_a_list_and_a_table(text):
    code, shown = markdown.code(text), clean(text, markdown.LONGEST) or "(empty)"
    assert "\n" not in code
    assert pieces(f"from {code} to {code}") == ([shown] * 2, "from  to ")
    assert pieces(f"- parameter {code}: {code}") == ([shown] * 2, "parameter : ")
    lines = markdown.table(["name", code], [[code, "1"], [f"{code} and {code}", "2"]])
    tokens = [token.type for token in parsed("\n".join(lines))]
    assert (tokens.count("tr_open"), tokens.count("th_open"), tokens.count("td_open")) == (3, 2, 4)
    assert pieces("\n".join(lines)) == ([shown] * 4, "name1 and 2")


@settings(max_examples=200)
@given(st.text(st.sampled_from("`|\\\n<>@#*_[]()!&;: a\u200b\u202e"), max_size=200), st.text())
@example("`" * 60, "`|`")
def test_any_two_texts_stay_apart(one, other):
    shown = [clean(text, markdown.LONGEST) or "(empty)" for text in (one, other)]
    line = f"| {markdown.code(one)} | {markdown.code(other)} |"
    assert pieces(f"{markdown.code(one)} → {markdown.code(other)}") == (shown, " → ")
    assert pieces("\n".join(markdown.table(["a", "b"], [[markdown.code(one), markdown.code(other)]]))) == (shown, "ab")
    assert line.count("\n") == 0


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_is_shown_that_cannot_be_seen_or_that_githubs_parser_does_not_close(text):
    code = markdown.code(text)
    kinds = {unicodedata.category(character) for character in code}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(code) <= 3 * markdown.LONGEST + 4
    assert "`" * 80 not in code  # cmark-gfm, MAXBACKTICKS
    code.encode()


def test_a_comment_that_is_too_long_is_cut_between_blocks_and_says_so():
    blocks = ["**Better**", *(markdown.folded("more", [f"- {markdown.code('x' * 60)}"] * 500) for _ in range(4))]
    assert markdown.fitting(blocks[:1]) == "**Better**\n"
    text = markdown.fitting(blocks)
    assert len(text) <= markdown.COMMENT
    assert text.count("<details>") == text.count("</details>") == 1
    assert text.endswith("_3 more sections would not fit into a comment._\n")
    wide = markdown.fitting(["x", "\N{GRINNING FACE}" * 40_000])  # GitHub counts such a character as two or more
    assert len(wide) < 100


def test_curves_of_any_length_share_one_axis():
    lines = markdown.chart({"o": [(1, 1.0), (2, 0.5), (40, 0.5)], "x": [(1, 1.0), (20, 0.0)]}, "epoch", 40, 11)
    assert (lines[0], lines[-1], lines[-2].split()) == ("```text", "```", ["1", "40", "epoch"])
    body = [line.partition("|")[2].ljust(40) for line in lines[1:12]]
    assert body[0][0] == "o"  # both are there, the first is seen
    seen = {name: {row.find(name, at) for row in body for at in range(40)} - {-1} for name in "ox"}
    assert seen["o"] == {*range(40)}
    assert max(seen["x"]) == 19  # half of the axis, as it has half of the epochs
    flat = markdown.chart({"o": [(1, 0.5)]}, "epoch")
    assert sum(line.count("o") for line in flat[1:13]) == 1
