#!/usr/bin/env bash
# fuzz.sh SECONDS: runs every fuzz target of the tree, SECONDS in all, at least one second each.
set -euo pipefail
cd "$(dirname "$0")/.."
total=${1:?usage: fuzz.sh SECONDS}

# FILE:func FuzzName( → FOLDER NAME
mapfile -t targets < <(grep -rEo --include='*_test.go' --exclude-dir=build --exclude-dir=.git '^func Fuzz[A-Za-z0-9_]+' . |
  sed -E 's|^(.*)/[^/]+:func (.*)$|\1 \2|' | sort -u)
if [ ${#targets[@]} -eq 0 ]; then
  echo "fuzz: no target found" >&2
  exit 1
fi
each=$((total / ${#targets[@]}))
[ "$each" -ge 1 ] || each=1

failed=0
for target in "${targets[@]}"; do
  read -r folder name <<<"$target"
  if ! out=$(CGO_ENABLED=0 go test -run '^$' -fuzz "^$name\$" -fuzztime "${each}s" -fuzzminimizetime 10x "$folder" 2>&1); then
    printf '%s\n' "$out"
    failed=1
    continue
  fi
  printf 'fuzz: %-40s %s\n' "$folder $name" "$(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1)"
done
exit "$failed"
