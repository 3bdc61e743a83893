#!/usr/bin/env bash
# Regenerates everything in a copy of the repository and fails when a file
# there differs from the one that is in the tree. The copy is of the files that
# git tracks or would track, so a folder that is no checkout cannot be verified.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
files=$copy/.files
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do
  if [ -e "$f" ]; then printf '%s\0' "$f"; fi
done >"$files"
tar -c --null -T "$files" | tar -x -C "$copy"
(cd "$copy" && hack/generate.sh >/dev/null)

differ=0
while IFS= read -r -d '' f; do
  cmp -s "$f" "$copy/$f" || { echo "verify: $f does not match its source" >&2; differ=1; }
done <"$files"
if [ "$differ" -ne 0 ]; then
  echo "verify: run 'make generate' and commit what it changes" >&2
  exit 1
fi
(cd "$copy" && go mod tidy -diff) || { echo "verify: go.mod is not tidy; run 'go mod tidy'" >&2; exit 1; }
