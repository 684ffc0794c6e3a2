"""The comment on a pull request: its first line, and that nothing from a revision is anything but code in it."""

import json
import unicodedata

import msgspec
import pytest
from markdown_it import MarkdownIt

from plumbline.commands import compare
from plumbline.comparing import comment
from plumbline.comparing.result import Changes, Entry, Figure, Judged, Result, Side
from plumbline.pages.markdown import COMMENT

CURVE = [{"epoch": float(e), "test_loss": 1 / e, "test_accuracy": 1 - 1 / (e + 1)} for e in range(1, 41)]
NOTHING = Changes({}, {}, [], [])
SOME = Changes({"train.hidden_size": (32, 2)}, {"stages/network.py": ["train", "evaluate"]}, [], [])
RUN = comment.Run("main", ("smaller", "1" * 40), True, [], "https://github.com/a/b/actions/runs/1")


def judged(metric="accuracy", verdict="worse", difference=-0.05, half=0.04, why=""):
    known = (None,) * 5 if half is None else (1.4 * half, 0.97, 0.72, 0.99, None)
    ends = (None,) * 2 if half is None else (difference - half, difference + half)
    return Judged(metric, 0.94, 0.94 + difference, difference, *ends, verdict, why, *known)


def result(*found, changes=SOME, notes=(), base=None, other=None, metrics=None):
    base = base or Side("HEAD", "main", "3802c36", 32, {"test": CURVE})
    other = other or Side("workspace", "smaller", "1a2b3c4", 32, {"test": CURVE[:20]})
    entry = Entry(other, [], list(found), Figure(0.9, 0.88, 0.92, 200), False, changes)
    rest = (200, None, 32, None, None, {}, list(notes), metrics or {})
    return Result(base, [entry], False, "accuracy", "mean", "test", "there is no validation part", *rest)


def run(found, **known):
    return comment.of_a_run(RUN._replace(**known), msgspec.json.encode(found) if isinstance(found, Result) else found)


LOSS = judged("log_loss", "better", -0.05)
FIRST_LINES = {
    "worse": (result(judged()), "**▼ Worse.** `smaller` is worse than `main` in accuracy: accuracy 0.9400 -> 0.8900, "),
    "better": (
        result(judged("accuracy", "no evidence", 0.001), LOSS),
        "**▲ Better.** `smaller` is better than `main` ",
    ),
    "both": (result(judged(), LOSS), "**▲▼ Better and worse.** `smaller` is worse than `main` in accuracy and better"),
    "none": (result(judged(verdict="no evidence")), "**○ No evidence** that `smaller` differs from `main`: accuracy "),
    "one": (result(judged(verdict="no verdict", why="1 network")), "**? No verdict** on `smaller` beside `main`, for "),
    "identical": (result(judged(verdict="identical", half=None)), "**= Identical.** `smaller` predicts exactly "),
}


@pytest.mark.parametrize("found, first", FIRST_LINES.values(), ids=FIRST_LINES)
def test_the_first_line_is_the_verdict_in_words(found, first):
    lines = comment.write(found).splitlines()
    assert lines[0].startswith(first)
    verdicts = {d.verdict for d in found.entries[0].judged}
    assert ("95 % interval" in lines[0]) == (verdicts != {"identical"})
    assert ("four times in five" in lines[0]) == bool(verdicts & {"worse", "better", "no evidence"})


def test_a_table_what_changed_and_what_is_folded_follow():
    text = comment.write(result(judged(), metrics={"metrics/evaluate.json": {"f1": (0.5, 0.25)}}))
    assert "| metric | `main` `3802c36` | `smaller` `1a2b3c4`, your files |" in text
    assert "| `accuracy` | 0.9400 | 0.8900 | -0.0500 | -0.0900 to -0.0100 | ▼ worse |" in text
    assert "- parameter `train.hidden_size`: `32` -> `2`\n- `stages/network.py`, read by `train` and `evaluate`" in text
    assert text.count("<details>") == text.count("</details>") == 3
    assert "| `metrics/evaluate.json` | `f1` | `0.5` | `0.25` |" in text
    assert "HEAD" not in text and "workspace" not in text


def test_only_text_changed_is_one_line():
    text = comment.write(result(judged(verdict="identical", half=None), changes=NOTHING))
    assert text.count("\n") == 1 and "Nothing that a stage reads differs." in text
    text = run(result(judged(verdict="identical", half=None), changes=NOTHING))
    assert text.count("\n") == 1 and comment.VERIFIED in text


def test_a_forks_main_and_ours_are_told_apart_by_their_commits():
    text = run(result(judged()), other=("main", "1" * 40))
    assert text.startswith("**▼ Worse.** `1111111` is worse than `3802c36` in accuracy")
    assert "| metric | `main` `3802c36` | `main` `1111111` |" in text


# ---- a pull request's run


def test_github_says_which_commits_and_whether_verify_passed():
    text = run(result(judged("accuracy", "better", 0.05)))
    assert text.startswith("**▲ Better.** `smaller` is better than `main`")
    assert "| metric | `main` `3802c36` | `smaller` `1111111` |" in text
    assert comment.VERIFIED in text


@pytest.mark.parametrize("verified, how", [(False, "failed"), (None, "did not run")])
def test_without_verify_there_is_no_verdict_and_no_figure(verified, how):
    forged = msgspec.json.encode(result(judged("accuracy", "better", 0.05)))
    text = comment.of_a_run(RUN._replace(verified=verified), forged, verify_said="a line\nerror: 3 files differ\n")
    assert text.startswith(f"**No verdict. `plumbline verify` {how}")
    assert "better" not in text.lower() and "0.99" not in text
    assert "`error: 3 files differ`" in text


def test_a_pull_request_that_changes_what_judges_it_is_told_so():
    files = [f"plumbline/scores/{name}.py" for name in "abcde"]
    assert "changed as well: `plumbline/scores/a.py`, " in run(result(judged()), judges=files)


def changed(*path, to):
    value = at = json.loads(msgspec.json.encode(result(judged())))
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = to
    return json.dumps(value).encode()


DAMAGED = {
    "empty": b"",
    "binary": bytes(range(256)),
    "deep": b"[" * 100_000,
    "deep value": changed("entries", 0, "changes", "params", to={"x": [0, 0]}).replace(b"[0, 0]", b"[" * 9999),
    "list": b"[]",
    "no entries": changed("entries", to=[]),
    "two entries": changed("entries", to=json.loads(msgspec.json.encode(result(judged()).entries * 2))),
    "metric": changed("entries", 0, "judged", 0, "metric", to="@acme"),
    "verdict": changed("entries", 0, "judged", 0, "verdict", to="**approve**"),
    "part": changed("part", to="# x"),
    "of": changed("of", to="x"),
    "nothing judged": changed("entries", 0, "judged", to=[]),
    "text for a number": changed("entries", 0, "judged", 0, "low", to="<b>"),
    "pair of three": changed("entries", 0, "changes", "params", to={"x": [1, 2, 3]}),
    "long integer": changed("rows", to=0).replace(b'"rows": 0', b'"rows": ' + b"9" * 5000),
    "curve": changed("base", "curves", to={"test": [{"x": 1}]}),
}


@pytest.mark.parametrize("found", DAMAGED.values(), ids=DAMAGED)
def test_data_of_another_form_give_no_verdict_and_the_reason_that_compare_gave(found):
    text = comment.of_a_run(RUN, found, "Traceback\nerror: no verdict: @acme **x**\n")
    assert text.startswith("**No verdict. The two could not be compared.** `main` → `smaller` `1111111`.")
    assert "`error: no verdict: @acme **x**`" in text


def test_numbers_that_nobody_meant_do_no_harm():
    for number in (1e308, -1e308, 5e-324, 0):
        for field in ("low", "seen", "by_rows", "twice_rows", "difference", "rows_needed"):
            is_count = field == "rows_needed"
            found = changed("entries", 0, "judged", 0, field, to=2**62 if is_count else number)
            assert len(comment.of_a_run(RUN, found)) < 12_000
    for epoch, loss in ((1, 1e308), (-1e308, 1), (float(2**60), 1)):
        curve = [{"epoch": epoch, "test_loss": loss}, {"epoch": 2, "test_loss": -loss}, {"epoch": 2, "test_loss": 0}]
        assert len(comment.of_a_run(RUN, changed("base", "curves", to={"test": curve}))) < 12_000


# ---- hostile text

EVIL = (
    "EVIL\n\n### better\n| a | b |\n|---|---|\n@acme #12 ![x](http://e.example) <img src=x> `|`` \u202e\x1b[31m **x**\n"
)


def hostile_result():
    side = Side(EVIL, EVIL, EVIL, 32, {"test": CURVE})
    changes = Changes({EVIL: (EVIL, EVIL + "1"), "x": (None, [EVIL])}, {EVIL: [EVIL, EVIL]}, [EVIL], [EVIL])
    found = result(judged(), judged("log_loss", "no verdict", why=EVIL), LOSS, changes=changes, base=side, other=side)
    found = msgspec.structs.replace(found, why=EVIL, notes=[EVIL], left_out={EVIL: EVIL})
    return msgspec.structs.replace(found, metrics={EVIL: {EVIL: (EVIL, None)}})


def hostile_ranking():
    two = hostile_result()
    (entry,) = two.entries
    base = msgspec.structs.replace(entry, judged=[], same=[EVIL])
    best = msgspec.structs.replace(entry, judged=[judged("accuracy", "better", 0.05)], is_among_best=True)
    look = Figure(0.9, 0.8, 0.95, 100)
    return msgspec.structs.replace(two, is_ranking=True, entries=[best, base], luck=0.01, last_look=look)


HOSTILE = {
    "two": lambda: comment.write(hostile_result()),
    "ranking": lambda: comment.write(hostile_ranking()),
    "run": lambda: run(hostile_result(), base=EVIL, other=(EVIL, "1" * 40), judges=[EVIL] * 4),
    "failed": lambda: comment.of_a_run(RUN._replace(verified=False, other=(EVIL, EVIL)), b"", EVIL, EVIL),
    "refused": lambda: comment.of_a_run(RUN, b"", EVIL, EVIL),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_foreign_text_is_code_wherever_it_stands(make):
    text = make()
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    ours = {"<details><summary>": 1, "</details>": 1}
    assert all(any(token.content.startswith(tag) for tag in ours) for token in tokens if token.type == "html_block")
    assert not {token.type for token in tokens} & {"heading_open", "blockquote_open", "code_block", "hr"}
    assert all("EVIL" not in token.content for token in tokens if token.type in ("html_block", "fence"))
    inline = [child for token in tokens if token.type == "inline" for child in token.children]
    kinds = {"text", "code_inline", "strong_open", "strong_close", "link_open", "link_close", "softbreak"}
    assert {child.type for child in inline} <= kinds
    assert {child.attrs["href"] for child in inline if child.type == "link_open"} <= {RUN.url}
    prose = "".join(child.content for child in inline if child.type == "text")
    assert "EVIL" in "".join(child.content for child in inline if child.type == "code_inline")
    assert not [sign for sign in ("EVIL", "@", "#", "`", "<", "http") if sign in prose]
    columns = [line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| ")]
    assert len({*columns}) <= 3


@pytest.mark.parametrize("make", [hostile_result, hostile_ranking])
def test_in_text_it_stays_on_its_line_and_controls_no_terminal(make):
    text = compare.as_text(make())
    assert {unicodedata.category(sign) for sign in text.replace("\n", "")} & {"Cc", "Cf"} == set()
    assert not [line for line in text.splitlines() if line.startswith(("###", "| a", "|---", "@acme"))]


def test_a_comment_of_any_length_fits():
    many = {f"section.{i}" * 20: ("x" * 500, i) for i in range(5000)}
    found = result(judged(), changes=Changes(many, {}, [], []), notes=["x" * 500] * 500, metrics={"f": many})
    text = comment.write(found)
    assert len(text) <= COMMENT and text.count("<details>") == text.count("</details>")
    assert "- and 4985 more" in text
