"""Say on a pull request what its run found: one comment, which later runs update. For .github/workflows/comment.yml.

    GH_TOKEN=... GITHUB_REPOSITORY=owner/name GITHUB_EVENT_PATH=event.json python .github/comment.py

This runs with a token that may write, from the default branch's code. What the pull request's own run left is data,
and hostile: it is read in memory, its size and form are checked, and every text of it is shown as code. Which pull
request it is, whether `plumbline verify` passed, and what the commits are called is asked of GitHub.
"""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from plumbline.comparing import comment

ARTIFACT, FILES = "comparison", ("comparison.json", "refused.txt", "verify.txt")
LARGEST = 4 * 2**20  # bytes of the artifact, and of a file in it
MARKER, AUTHOR = "<!-- plumbline: comparison -->", "github-actions[bot]"
# What makes the figures and the verdict, beside the stages, which are what is reviewed.
JUDGES = ("plumbline/", ".github/", ".dvc/", "Makefile", "pyproject.toml", "requirements.txt")


def main() -> None:
    repository = os.environ["GITHUB_REPOSITORY"]
    run = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())["workflow_run"]
    pull = pull_request(repository, run)
    if not pull:
        print("not one open pull request alone has this commit as its head; nothing is said")
        return
    found = left_behind(repository, run["id"])
    known = comment.Run(
        pull["base"]["ref"],
        (pull["head"]["ref"], pull["head"]["sha"]),
        outcome_of_verify(repository, run["id"]),
        changed(repository, pull["number"]),
        run["html_url"],
    )
    said = (found.get(name, b"").decode(errors="replace") for name in ("refused.txt", "verify.txt"))
    told = comment.of_a_run(known, found.get("comparison.json", b""), *said)
    post(repository, pull["number"], f"{told}\n{MARKER}\n")


def gh(*arguments: str, given: dict | None = None) -> bytes:
    """What GitHub's API answers."""
    body = ["--input", "-"] if given is not None else []
    command = ["gh", "api", *arguments, *body]
    return subprocess.run(command, input=json.dumps(given).encode(), stdout=subprocess.PIPE, check=True).stdout


def listed(path: str, key: str | None = None, **query: str) -> list[dict]:
    """All pages of a list."""
    fields = [word for name, value in query.items() for word in ("--raw-field", f"{name}={value}")]
    pages = json.loads(gh("--method", "GET", "--paginate", "--slurp", path, *fields, "--raw-field", "per_page=100"))
    return [item for page in pages for item in (page[key] if key else page)]


# ---- what GitHub itself says


def pull_request(repository: str, run: dict) -> dict | None:
    """The one open pull request whose head is the commit that was run. A fork's is in no field of the event."""
    if not run["head_repository"]:  # the fork is gone
        return None
    head = f"{run['head_repository']['owner']['login']}:{run['head_branch']}"
    found = [
        pull
        for pull in listed(f"repos/{repository}/pulls", state="open", head=head)
        if pull["head"]["sha"] == run["head_sha"]
        and pull["head"]["ref"] == run["head_branch"]
        and (pull["head"]["repo"] or {}).get("id") == run["head_repository"]["id"]
    ]
    numbers = [pull["number"] for pull in run["pull_requests"]]
    named = [pull for pull in found if pull["number"] in numbers] or found
    return named[0] if len(named) == 1 else None


def outcome_of_verify(repository: str, run: int) -> bool | None:
    """Whether the step Verify passed; None if it did not run."""
    jobs = listed(f"repos/{repository}/actions/runs/{run}/jobs", "jobs", filter="latest")
    ended = [step["conclusion"] for job in jobs for step in job["steps"] if step["name"] == "Verify"]
    return {"success": True, "failure": False}.get(ended[0]) if len(ended) == 1 else None


def changed(repository: str, number: int) -> list[str]:
    """Files of the code that judges which the pull request changes, also by taking them away."""
    files = listed(f"repos/{repository}/pulls/{number}/files")
    names = [name for file in files for name in (file["filename"], file.get("previous_filename")) if name]
    return [name for name in names if name.startswith(JUDGES)]


# ---- what the pull request's run left


def left_behind(repository: str, run: int) -> dict[str, bytes]:
    """The files of the artifact by name; none if it is not as the workflow makes it."""
    artifacts = listed(f"repos/{repository}/actions/runs/{run}/artifacts", "artifacts", name=ARTIFACT)
    found = [each for each in artifacts if each["name"] == ARTIFACT and not each["expired"]]
    if len(found) != 1 or found[0]["size_in_bytes"] > LARGEST:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(gh(f"repos/{repository}/actions/artifacts/{found[0]['id']}/zip"))) as packed:
            return {name: read(packed, name) for name in FILES if name in packed.namelist()}
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, OSError, EOFError) as error:
        print(f"the artifact cannot be read: {error!r}")
        return {}


def read(packed: zipfile.ZipFile, name: str) -> bytes:
    """A file of an archive, which may claim another size than it has."""
    with packed.open(name) as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError(f"{name} is larger than {LARGEST} bytes")
    return text


# ---- the comment


def post(repository: str, number: int, text: str) -> None:
    """Update the comment that this workflow wrote before, or write the first."""
    comments = listed(f"repos/{repository}/issues/{number}/comments")
    mine = [each for each in comments if each["user"]["login"] == AUTHOR and each["body"].rstrip().endswith(MARKER)]
    if mine:
        gh("--silent", "--method", "PATCH", f"repos/{repository}/issues/comments/{mine[0]['id']}", given={"body": text})
    else:
        gh("--silent", "--method", "POST", f"repos/{repository}/issues/{number}/comments", given={"body": text})
    print(f"{'updated' if mine else 'posted'} on pull request {number}")


if __name__ == "__main__":
    main()
