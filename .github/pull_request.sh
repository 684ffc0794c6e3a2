#!/usr/bin/env bash
# The comment for a pull request, as Markdown on standard output: is the checked-out branch different from BASE?
#
#     .github/pull_request.sh origin/main > comment.md
#
# Needs the branch's own results in the workspace (dvc pull or dvc repro). Those of BASE come from the cache or a
# remote; where neither has them, BASE is run in a clone that shares the cache.
set -euo pipefail
base=$1
root=$(git rev-parse --show-toplevel)
cd "$root"

echo "<!-- plumbline -->"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if ! plumbline compare "$base" "$base" > /dev/null 2>&1; then
  {
    git clone --quiet --no-checkout "$root" "$scratch/base"
    cd "$scratch/base"
    git checkout --quiet --detach "$(git -C "$root" rev-parse "$base")"
    dvc cache dir --local "$(cd "$root" && dvc cache dir)" && dvc repro
  } >&2 || echo "the results of $base could not be made" >&2
  cd "$root"
fi

# A comparison that is refused says why in one line, which becomes part of the comment.
plumbline compare "$base" --md 2> "$scratch/refused" || sed 's/^/\n> /' "$scratch/refused"

for what in metrics params; do
  printf '\n<details><summary>dvc %s diff %s</summary>\n\n' "$what" "$base"
  dvc "$what" diff "$base" --md || true
  printf '\n</details>\n'
done
