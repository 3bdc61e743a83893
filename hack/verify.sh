#!/usr/bin/env bash
# Regenerates everything in a copy of the repository and fails when a file
# there differs from the one that is committed.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do
  [ -e "$f" ] && printf '%s\0' "$f"
done | tar -c --null -T - | tar -x -C "$copy"
(cd "$copy" && hack/generate.sh >/dev/null)

if ! diff -r -q -x .git -x bin -x dist . "$copy"; then
  echo "verify: the files above do not match their source; run 'make generate' and commit what it changes" >&2
  exit 1
fi
(cd "$copy" && go mod tidy -diff) || { echo "verify: go.mod is not tidy; run 'go mod tidy'" >&2; exit 1; }
