"""A pull request played against a local bare repository: what its run leaves, and the comment that is made of it."""

import importlib.util
import io
import json
import os
import re
import stat
import subprocess
import sys
import zipfile

import pytest
import yaml
from conftest import ROOT, Project, dvc

WORKFLOWS = {path.name: path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")}
READ = {name: yaml.load(text, yaml.BaseLoader) for name, text in WORKFLOWS.items()}  # "on" stays a word
STEPS = {name: [step for job in flow["jobs"].values() for step in job["steps"]] for name, flow in READ.items()}


def load():
    """`.github/comment.py` as a module."""
    spec = importlib.util.spec_from_file_location("github_comment", ROOT / ".github/comment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- what the pull request's run leaves


@pytest.fixture(scope="module")
def branch(default, tmp_path_factory):
    """A fresh clone of a bare repository, on a branch with one change, its results made; the base's are nowhere."""
    folder = tmp_path_factory.mktemp("pull")
    default.run("git", "clone", "-q", "--bare", ".", str(folder / "origin.git"))
    clone = object.__new__(Project)
    clone.folder = folder / "runner"
    default.run("git", "clone", "-q", str(folder / "origin.git"), str(clone.folder))
    for name, value in {"name": "test", "email": "test@example.org"}.items():
        clone.run("git", "config", f"user.{name}", value)
    clone.run("git", "checkout", "-qb", "smaller")
    clone.set(train__hidden_size=2)
    dvc(clone.folder, "repro", "-q")
    clone.commit("a smaller network")
    return clone


@pytest.fixture(scope="module")
def left(branch, tmp_path_factory):
    """The files that the run leaves, by name."""
    folder = tmp_path_factory.mktemp("left")
    branch.run(".github/pull_request.sh", "origin/main", str(folder))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_making_them_leaves_the_checkout_as_it_was(branch, left):
    assert branch.run("git", "status", "--porcelain").stdout == ""
    assert "up to date" in branch.run("dvc", "status").stdout


def test_the_comment_has_the_verdict_the_table_and_the_curves(left, github):
    github.leave(left)
    text = github.comment()
    assert text.startswith("**▼ Worse.** `smaller` is worse than `main` in accuracy, log_loss, ")
    assert re.search(r"^\| `log_loss` \| .* \| ▼ worse \|$", text, re.M)
    assert "- parameter `train.hidden_size`: `32` -> `2`\n" in text
    assert text.count("<details>") == text.count("</details>") == 3
    assert "| `metrics/evaluate.json` | `accuracy` |" in text
    assert " 20  epoch" in text
    assert "workspace" not in text and "HEAD" not in text
    assert "`plumbline verify` passed" in text
    assert text.endswith(f"\n{github.module.MARKER}\n")


def test_predictions_forged_on_a_remote_are_not_told_as_better(left, github):
    """What verify says is asked of GitHub; the artifact says better, and whatever else it likes."""
    forged = json.loads(left["comparison.json"])
    for judged in forged["entries"][0]["judged"]:
        judged |= {"verdict": "better", "other": 1.0, "difference": 0.05, "low": 0.04, "high": 0.06}
    github.leave({"comparison.json": json.dumps(forged).encode(), "verify.txt": b"error: 2 lines above are not\n"})
    assert "▲ Better" in github.comment()
    for ended, how in (("failure", "failed"), ("skipped", "did not run"), (None, "did not run")):
        github.verify = ended
        text = github.comment()
        assert text.startswith(f"**No verdict. `plumbline verify` {how}")
        assert "etter" not in text and "1.0000" not in text


def test_a_comparison_that_is_refused_is_told_with_its_reason(default, tmp_path, github):
    project = default.copy(tmp_path / "project")
    project.set(split__train=0.7)
    dvc(project.folder, "repro", "-q")
    project.commit("another split")
    project.run(".github/pull_request.sh", "HEAD~1", str(tmp_path / "left"))
    github.leave({path.name: path.read_bytes() for path in (tmp_path / "left").iterdir()})
    text = github.comment()
    assert text.startswith("**No verdict. The two could not be compared.**")
    assert "\n`error: no verdict: HEAD~1 and workspace were scored on different " in text


# ---- the comment's workflow, with a stand-in for GitHub


class GitHub:
    """What GitHub answers of a repository with one pull request from a fork, and what is written to it."""

    def __init__(self, module, folder):
        self.module, self.written, self.comments, self.artifact = module, [], [], b""
        self.verify, self.files, self.artifacts, self.jobs = "success", [], [{"name": "comparison"}], 1
        owner = {"id": 7, "owner": {"login": "someone"}}
        head = {"ref": "smaller", "sha": "1" * 40, "repo": {"id": 7}}
        self.pulls = [{"number": 12, "head": head, "base": {"ref": "main", "sha": "2" * 40}}]
        self.run = {"id": 99, "head_branch": "smaller", "head_sha": "1" * 40, "head_repository": owner}
        self.run |= {"pull_requests": [], "html_url": "https://github.com/a/b/actions/runs/99"}
        self.event = folder / "event.json"

    def leave(self, files):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        self.artifact = packed.getvalue()

    def gh(self, *arguments, given=None):
        (path,) = [word for word in arguments if word.startswith("repos/")]
        if given is not None:
            self.written.append((arguments[arguments.index("--method") + 1], path, given["body"]))
            return b""
        if path.endswith("/zip"):
            return self.artifact
        steps = [{"name": "Verify", "conclusion": self.verify}, {"name": "Compare", "conclusion": "success"}]
        known = {"expired": False, "size_in_bytes": len(self.artifact), "id": 5}
        answers = {
            "repos/a/b/pulls": self.pulls,
            "repos/a/b/pulls/12/files": [{"filename": name} for name in self.files],
            "repos/a/b/actions/runs/99/jobs": {"jobs": [{"steps": steps}] * self.jobs},
            "repos/a/b/actions/runs/99/artifacts": {"artifacts": [known | each for each in self.artifacts]},
            "repos/a/b/issues/12/comments": self.comments,
        }
        return json.dumps([answers[path]]).encode()

    def comment(self):
        self.written.clear()
        self.event.write_text(json.dumps({"workflow_run": self.run}))
        self.module.main()
        return self.written[-1][2] if self.written else None


@pytest.fixture
def github(tmp_path, monkeypatch):
    module = load()
    github = GitHub(module, tmp_path)
    monkeypatch.setattr(module, "gh", github.gh)
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(github.event))
    return github


def test_the_comment_that_is_updated_is_the_bots_own(github):
    def comment(number, login, body):
        return {"id": number, "user": {"login": login}, "body": body}

    marked = f"text\n{github.module.MARKER}\n"
    github.comments = [comment(1, "someone", marked), comment(2, "github-actions[bot]", "another workflow's")]
    github.comments += [comment(4, "github-actions-bot", marked)]
    github.comment()
    assert github.written[0][:2] == ("POST", "repos/a/b/issues/12/comments")
    github.comments.append(comment(77, "github-actions[bot]", marked))
    github.comment()
    assert [written[:2] for written in github.written] == [("PATCH", "repos/a/b/issues/comments/77")]


@pytest.mark.parametrize("change", ["pushed since", "closed", "another fork's", "two", "fork is gone"])
def test_only_the_pull_request_whose_head_was_run_is_spoken_to(github, change):
    (pull,) = github.pulls
    if change == "pushed since":
        pull["head"]["sha"] = "3" * 40
    elif change == "closed":
        github.pulls = []
    elif change == "another fork's":
        pull["head"]["repo"] = {"id": 8}
    elif change == "two":
        github.pulls.append(pull | {"number": 13})
    else:
        github.run["head_repository"] = None
    assert github.comment() is None
    if change == "two":  # the event says which where it is no fork
        github.run["pull_requests"] = [{"number": 12}]
        assert github.comment()


def test_what_judges_is_watched(github, left):
    github.leave(left)
    github.files = ["README.md", "plumbline/scores/metrics.py", ".github/workflows/pull_request.yml"]
    assert (
        "is changed as well: `plumbline/scores/metrics.py`, `.github/workflows/pull_request.yml`." in github.comment()
    )


def test_a_step_of_that_name_in_two_jobs_proves_nothing(github, left):
    github.leave(left)
    github.jobs = 2
    assert "`plumbline verify` did not run" in github.comment()


def bomb():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("comparison.json", b" " * 2**27)
    return packed.getvalue()


def lying_about_its_size():
    data = bytearray(bomb())
    for at in (data.rindex(b"PK\x01\x02") + 24, 22):  # what it says unpacked, in the directory and before the file
        data[at : at + 4] = (9).to_bytes(4, "little")
    return bytes(data)


HOSTILE = {"bomb": bomb, "lying": lying_about_its_size, "no archive": lambda: b"PK\x03\x04 no", "empty": lambda: b""}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_an_artifact_of_another_form_is_no_comparison(github, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    github.artifact = make()
    assert github.comment().startswith("**No verdict. The two could not be compared.**")


def test_names_in_an_archive_lead_nowhere(github, left, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    github.leave({"../../comparison.json": b"x", "/etc/passwd": b"x", ".github/comment.py": b"x", **left})
    before = sorted(tmp_path.rglob("*"))
    assert github.comment().startswith("**▼ Worse.**")
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == [github.event]


@pytest.mark.parametrize(
    "artifacts",
    [
        [],
        [{"name": "comparison"}] * 2,
        [{"name": "x"}],
        [{"name": "comparison", "expired": True}],
        [{"name": "comparison", "size_in_bytes": 2**30}],
    ],
)
def test_an_artifact_that_is_not_there_once_is_not_fetched(github, artifacts, left):
    github.leave(left)
    github.artifacts = artifacts
    assert github.comment().startswith("**No verdict. The two could not be compared.**")


def test_the_script_asks_github_by_its_command(tmp_path):
    """The words of one call, as `gh` gets them; an answer of no pull request ends it."""
    gh = tmp_path / "gh"
    gh.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@" >> "$GH_LOG"\necho "[[]]"\n')
    gh.chmod(gh.stat().st_mode | stat.S_IEXEC)
    run = {"head_branch": "x; $(touch y)", "head_repository": {"owner": {"login": "-F"}}}
    (tmp_path / "event.json").write_text(json.dumps({"workflow_run": run | {"pull_requests": []}}))
    known = {
        "GITHUB_REPOSITORY": "a/b",
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GH_LOG": str(tmp_path / "log"),
    }
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, str(ROOT / ".github/comment.py")]
    done = subprocess.run(command, env=os.environ | known | path, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "not one open pull request alone has this commit as its head; nothing is said\n", done.stderr
    words = ["api", "--method", "GET", "--paginate", "--slurp", "repos/a/b/pulls", "--raw-field", "state=open"]
    words += ["--raw-field", "head=-F:x; $(touch y)", "--raw-field", "per_page=100"]
    assert (tmp_path / "log").read_text().splitlines() == words


def test_the_script_needs_the_packages_that_its_workflow_installs_and_no_other():
    asked = "import sys; sys.path.insert(0, '.github'); import comment; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=ROOT)
    third = {*done.stdout.split()} & {
        name.lower().replace("-", "_")
        for name in re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(), re.M)
    }
    (installed,) = re.findall(r"grep -E '\^\((.*)\)==' requirements.txt", WORKFLOWS["comment.yml"])
    assert third - {"typing_extensions"} == {*installed.split("|")}


# ---- the workflows


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_follows_githubs_schema(name):
    command = [
        "check-jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        "-o",
        "json",
        f".github/workflows/{name}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert json.loads(done.stdout)["status"] == "ok"


def test_what_a_pull_request_holds_runs_where_the_token_may_only_read():
    flow = READ["pull_request.yml"]
    assert list(flow["on"]) == ["pull_request"]
    assert flow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in flow["jobs"].values())
    assert "secrets" not in WORKFLOWS["pull_request.yml"] and "token" not in json.dumps(STEPS["pull_request.yml"])


def test_where_the_token_may_write_nothing_of_the_pull_request_is_fetched_as_code():
    flow = READ["comment.yml"]
    assert flow["on"] == {"workflow_run": {"workflows": [READ["pull_request.yml"]["name"]], "types": ["completed"]}}
    assert flow["permissions"] == {}
    (job,) = flow["jobs"].values()
    assert job["permissions"] == {"actions": "read", "contents": "read", "pull-requests": "write"}
    assert "event == 'pull_request'" in job["if"]
    used = [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step]
    assert used == ["actions/checkout", "actions/setup-python"]
    assert job["steps"][0]["with"] == {"persist-credentials": "false"}  # the default branch, as workflow_run has it
    assert [step["name"] for step in job["steps"] if "GH_TOKEN" in step.get("env", {})] == ["Comment"]
    assert job["steps"][-1]["run"] == "python .github/comment.py"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_of_every_workflow(name):
    assert "pull_request_target" not in READ[name]["on"]
    assert READ[name]["permissions"] in ({}, {"contents": "read"})
    for step in STEPS[name]:
        assert "${{" not in step.get("run", ""), step
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
            assert re.search(rf"{step['uses']} # v\d+\.\d+\.\d+\n", WORKFLOWS[name])
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


def test_how_verify_ended_is_seen_and_what_follows_is_still_left():
    flow, steps = READ["pull_request.yml"], STEPS["pull_request.yml"]
    names = [step.get("name") for step in steps]
    assert names[-3:] == ["Verify", "Compare", "Leave it for the comment"]
    verify, compare, leave = steps[-3:]
    assert "plumbline verify" in verify["run"] and "continue-on-error" not in verify
    assert flow["defaults"]["run"]["shell"] == "bash"  # with pipefail: `verify | tee` fails as verify does
    assert compare["if"] == leave["if"] == "success() || failure()"
    assert leave["with"]["name"] == load().ARTIFACT
    assert f'step["name"] == "{verify["name"]}"' in (ROOT / ".github/comment.py").read_text()
