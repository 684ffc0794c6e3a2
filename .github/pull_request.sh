#!/usr/bin/env bash
# What a comparison of the checked-out branch with BASE says, as files of a folder; comment.py makes a comment of them.
#
#     .github/pull_request.sh origin/main found
#
# Needs the branch's own results in the workspace (dvc pull or dvc repro). Those of BASE come from the cache or a
# remote; where neither has them, BASE is run in a clone that shares the cache.
set -euo pipefail
base=$1
mkdir -p "$2"
found=$(cd "$2" && pwd)
root=$(git rev-parse --show-toplevel)
cd "$root"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if ! python -m plumbline compare "$base" "$base" > /dev/null 2>&1; then
  {
    git clone --quiet --no-checkout "$root" "$scratch/base"
    cd "$scratch/base"
    git checkout --quiet --detach "$(git -C "$root" rev-parse "$base")"
    dvc cache dir --local "$(cd "$root" && dvc cache dir)" && dvc repro
  } >&2 || echo "the results of $base could not be made" >&2
  cd "$root"
fi

# A comparison that is refused says why in one line, which becomes the comment.
python -m plumbline compare "$base" --json > "$found/comparison.json" 2> "$found/refused.txt" || true
