#!/usr/bin/env bash
# Post a comment file to a pull request, or update the one posted before; into the job summary where that is forbidden.
#
#     .github/post.sh comment.md NUMBER
#
# A pull request from a fork has a token that may not write, and then the summary of the job is the place.
set -euo pipefail
file=$1
comments="repos/$GITHUB_REPOSITORY/issues/$2/comments"

post() {
  local mine
  mine=$(gh api "$comments" --paginate --jq '.[] | select(.body | startswith("<!-- plumbline -->")) | .id') || return
  mine=${mine%%$'\n'*}
  if [ -n "$mine" ]; then
    gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$mine" --field "body=@$file"
  else
    gh api --silent --method POST "$comments" --field "body=@$file"
  fi
}

if post; then
  echo "posted to pull request $2"
else
  cat "$file" >> "$GITHUB_STEP_SUMMARY"
  echo "no leave to comment: it is in the job summary"
fi
