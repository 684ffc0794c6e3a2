"""A pull request played against a local bare repository: a base, a branch, and the comment that would be posted."""

import json
import os
import stat

import pytest
from conftest import Project


@pytest.fixture(scope="module")
def branch(default, tmp_path_factory):
    """A fresh clone of a bare repository, on a branch with one change, its results made; the base's are nowhere."""
    folder = tmp_path_factory.mktemp("pull")
    project = default.copy(folder / "author")
    project.run("git", "clone", "-q", "--bare", ".", str(folder / "origin.git"))
    project.run("git", "remote", "add", "origin", str(folder / "origin.git"))
    project.run("git", "checkout", "-qb", "smaller")
    project.set(train__hidden_size=2)
    project.run("dvc", "repro", "-q")
    project.commit("a smaller network")
    project.run("git", "push", "-q", "origin", "smaller")
    clone = object.__new__(Project)
    clone.folder = folder / "runner"
    project.run("git", "clone", "-q", "--branch", "smaller", str(folder / "origin.git"), str(clone.folder))
    clone.run("dvc", "repro", "-q")
    return clone


@pytest.fixture(scope="module")
def comment(branch):
    return branch.run(".github/pull_request.sh", "origin/main").stdout


def test_the_comment_has_the_verdict_the_diffs_and_the_curves(comment):
    lines = comment.splitlines()
    assert lines[0] == "<!-- plumbline -->"
    assert lines[1] == "### origin/main -> workspace: 200 test rows, means over 32 networks"
    (log_loss,) = [line for line in lines if line.startswith("| log_loss") and " to " in line]
    assert log_loss.endswith("| worse |")
    assert "- parameter train.hidden_size: 32 -> 2" in lines
    assert lines.count("```mermaid") == 1
    assert comment.count("<details>") == comment.count("</details>") == 2
    metrics = comment[comment.index("dvc metrics diff") : comment.index("dvc params diff")]
    assert "| replicas.log_loss.mean |" in " ".join(metrics.split())
    params = comment[comment.index("dvc params diff") :]
    assert "| train.hidden_size | 32 | 2 |" in " ".join(params.split())


def test_making_it_leaves_the_checkout_as_it_was(branch, comment):
    assert branch.run("git", "status", "--porcelain").stdout == ""
    assert "up to date" in branch.run("dvc", "status").stdout


def test_an_empty_pull_request_says_so(branch, comment):
    """Against itself: no table of differences is empty, and no diff fails the script."""
    text = branch.run(".github/pull_request.sh", "HEAD").stdout
    assert "- identical predictions" in text
    assert "- no parameter, code or data changed" in text


GH = """#!/usr/bin/env bash
# A stand-in for GitHub's command: comments are files of a folder.
set -eu
[ -z "${GH_REFUSES:-}" ] || exit 1
printf '%s\\n' "$*" >> "$GH_LOG"
case "$*" in
  *PATCH*|*POST*) for word; do case "$word" in body=@*) cp "${word#body=@}" "$GH_STORE";; esac; done ;;
  *) [ ! -f "$GH_STORE" ] || echo 77 ;;
esac
"""


def test_it_is_posted_once_then_updated_and_on_a_fork_goes_into_the_summary(branch, comment, tmp_path):
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(gh.stat().st_mode | stat.S_IEXEC)
    (tmp_path / "comment.md").write_text(comment)
    environment = {
        "PATH": f"{gh.parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_REPOSITORY": "someone/plumbline",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GH_LOG": str(tmp_path / "log"),
        "GH_STORE": str(tmp_path / "store"),
    }
    post = (".github/post.sh", str(tmp_path / "comment.md"), "12")
    branch.run(*post, **environment)
    branch.run(*post, **environment)
    calls = [line for line in (tmp_path / "log").read_text().splitlines() if "--method" in line]
    assert [call.split("--method ")[1].split()[:2] for call in calls] == [
        ["POST", "repos/someone/plumbline/issues/12/comments"],
        ["PATCH", "repos/someone/plumbline/issues/comments/77"],
    ]
    assert (tmp_path / "store").read_text() == comment
    assert not (tmp_path / "summary.md").exists()
    done = branch.run(*post, **environment, GH_REFUSES="1")
    assert (tmp_path / "summary.md").read_text() == comment
    assert "job summary" in done.stdout


def test_a_comparison_that_is_refused_is_posted_with_its_reason(default, tmp_path):
    project = default.copy(tmp_path / "project")
    project.set(split__train=0.7)
    project.run("dvc", "repro", "-q")
    project.commit("another split")
    text = project.run(".github/pull_request.sh", "HEAD~1").stdout
    assert "> error: no verdict: HEAD~1 and workspace were scored on different test rows" in text


def test_the_workflow_follows_githubs_schema(branch):
    workflow = ".github/workflows/pull_request.yml"
    done = branch.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", "-o", "json", workflow)
    assert json.loads(done.stdout)["status"] == "ok"
