"""README.md and docs/: what they quote is as it stands, what they name is there, and what there is they name."""

import itertools
import re
import runpy
import shlex

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from plumbline.__main__ import COMMANDS
from plumbline.basics import params
from plumbline.commands.settings import settings_for

REFRESH = runpy.run_path(str(ROOT / "docs/refresh.py"))
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in REFRESH["PAGES"]}
README = PAGES["README.md"]
ALL = "\n".join(PAGES.values())


@pytest.mark.parametrize("page", PAGES)
def test_quoted_results_and_lines_are_as_they_are(page):
    """`python docs/refresh.py` mends this."""
    assert PAGES[page] == REFRESH["refreshed"](PAGES[page])
    assert REFRESH["MISSING"] not in PAGES[page]


def test_every_function_that_quotes_is_used():
    quoted = set(re.findall(r"<!-- quote: (\w+) -->", ALL))
    made = re.findall(r"^def (\w+)\(\) -> str:", (ROOT / "docs/refresh.py").read_text(), flags=re.MULTILINE)
    assert quoted == set(made)


def test_the_readme_is_short_and_in_order():
    assert len(README.splitlines()) <= 220
    assert re.findall(r"^## (.*)", README, flags=re.MULTILINE) == [
        "Two commands",
        "The exercise: one change at a time",
        "Your own table",
        "Is the difference real?",
        "Where things are",
        "What it costs",
        "Limits",
        "Words",
    ]
    words = README[README.index("## Words") :]
    assert len(re.findall(r"^- \*\*", words, flags=re.MULTILINE)) == 10


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", PAGES[page]):
        if not target.startswith("https://"):
            file = (ROOT / page).parent.joinpath(target) if target else ROOT / page
            assert file.exists(), target
            titles = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), flags=re.MULTILINE) if anchor else []
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert not anchor or anchor in anchors, f"{target}#{anchor}"


def test_every_page_is_linked_from_the_readme():
    assert {page for page in PAGES if page != "README.md"} == set(re.findall(r"\((docs/\w+\.md)\)", README))


def test_every_command_is_documented_and_no_other():
    assert set(re.findall(r"(?<![\w/.-])plumbline (\w+)", ALL)) == set(COMMANDS)
    for command in COMMANDS:
        assert f"plumbline {command}" in README or f"`{command}`" in README


def options_of(command: str) -> str:
    """What the help of a command says."""
    (path,) = ROOT.glob(f"plumbline/commands/{command}.py")
    return path.read_text(encoding="utf-8")


def test_options_that_are_named_are_there():
    for command, rest in re.findall(r"(?<![\w/.-])plumbline (\w+)([^`\n#|]*)", ALL):
        for option in re.findall(r"--[a-z-]+", rest):
            assert f'"{option}"' in options_of(command), f"plumbline {command} {option}"


def test_stages_are_the_four():
    assert set(re.findall(r"python -m stages\.(\w+)", ALL)) == {"make_data", "split", "train", "evaluate"}


def test_targets_of_make_are_there():
    targets = set(re.findall(r"^([\w./]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^    |`|^\s+)make ([a-z./-]+)", ALL, flags=re.MULTILINE)) <= targets


def test_parameters_that_are_set_may_be():
    text = (ROOT / "params.yaml").read_text()
    for line in re.sub(r" \\\n", " ", ALL).splitlines():
        if "dvc exp run" not in line:
            continue
        words = shlex.split(line.strip(" $`"), comments=True) if line.count("`") < 2 else line.replace("`", " ").split()
        changed = YAML(typ="safe", pure=True).load(text)
        for option, setting in itertools.pairwise(words):
            if option == "-S":
                name, _, value = setting.partition("=")
                section, _, field = name.rpartition(".")
                assert field in (changed[section] if section else changed), setting
                first = value.split(",")[0] if "--queue" in words else value  # DVC queues an experiment for each
                (changed[section] if section else changed)[field] = YAML(typ="safe").load(first)
        params.check(changed)


def test_parameters_in_words_are_there():
    sections = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    for section, field in re.findall(r"`(make_data|split|train|evaluate)\.(\w+)[:=`]", ALL):
        assert field in sections[section] or field == "py", f"{section}.{field}"


def test_files_and_folders_that_are_named_are_there():
    own = r"(?:plumbline|stages|benchmarks|tests|docs|\.github)"
    for name in set(re.findall(rf"(?<![\w/])({own}/[\w./]*\w)", ALL)):
        assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), name


def test_functions_of_the_notebooks_lines_are_where_the_page_says():
    rows = re.findall(r"^\| \d, .* \| (.*) \| `(\S+)` \|$", PAGES["docs/teaching.md"], flags=re.MULTILINE)
    assert len(rows) == 7
    for functions, file in rows:
        for name in re.findall(r"`(\w+)`", functions):
            assert re.search(rf"^ *def {name}\(", (ROOT / file).read_text(encoding="utf-8"), flags=re.MULTILINE), name


def test_every_folder_of_the_library_is_on_the_map():
    rooms = {path.name for path in (ROOT / "plumbline").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= set(re.findall(r"plumbline/(\w+)", README))


def test_every_benchmark_is_named_with_its_question():
    named = set(re.findall(r"python (?:-m )?benchmarks[./](\w+)", PAGES["docs/benchmarks.md"]))
    there = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    assert there == named


def test_variables_of_the_environment_are_read():
    code = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("plumbline/**/*.py"))
    for name in set(re.findall(r"PLUMBLINE_[A-Z]+", ALL)):
        assert f'"{name}"' in code, name


def test_the_setting_that_was_tried_is_what_start_writes():
    """But for the shares of the parts: benchmarks/tables.py keeps no rows to choose by."""
    text = (ROOT / "benchmarks/results/tables.txt").read_text(encoding="utf-8")
    tried = re.findall(r"-S (\S+)=(\S+)", next(line for line in text.splitlines() if line.startswith("Setting:")))
    cut = {"split.train": 0.8, "split.validation": 0.0, "split.folds": 0, "train.replicas": 4}  # benchmarks/tables.py
    written = settings_for(rows=1_000, classes=2, columns=10) | cut
    assert tried
    assert {name: str(written[name]).lower() for name, _ in tried} == dict(tried)
    unseen, chose = (int(count) for count in re.findall(r"ensemble against network 0.* of (\d+) tables", text))
    page = PAGES["docs/settings.md"].replace("\n", " ")
    assert f"on {unseen + chose} tables" in README
    assert f"on {unseen + chose} tables: on {unseen} that chose nothing" in page
    assert f"on {chose} that the settings were chosen on" in page
