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

# fuzz FOLDER NAME: one target. When the time is up while a worker is busy, Go may report "context deadline exceeded" as a
# failure without any input that fails (golang/go issue 75804, until Go 1.27); that run
# says nothing and is made again.
fuzz() {
  local tries
  for tries in 1 2 3; do
    if out=$(CGO_ENABLED=0 go test -run '^$' -fuzz "^$2\$" -fuzztime "${each}s" -fuzzminimizetime 10x "$1" 2>&1); then
      return 0
    fi
    grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input written\|panic:\|_test.go:' <<<"$out" || return 1
  done
  return 1
}

failed=0
for target in "${targets[@]}"; do
  read -r folder name <<<"$target"
  if ! fuzz "$folder" "$name"; then
    printf '%s\n' "$out"
    failed=1
    continue
  fi
  printf 'fuzz: %-40s %s\n' "$folder $name" "$(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1)"
done
exit "$failed"
