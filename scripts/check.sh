#!/usr/bin/env bash
# Everything that can be judged without running the product. Runs all of it and fails at the end, so that one run shows
# every finding.
set -uo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
tool=(go tool -modfile=tools/go.mod)
failed=()

check() { # check NAME COMMAND…: the command fails, or prints nothing it should not
  local name=$1
  shift
  printf '== %s\n' "$name"
  "$@" || failed+=("$name")
}

silent() { # silent COMMAND…: whatever it prints is a finding
  local out status=0
  out=$("$@" 2>&1 | sed '/^go: downloading /d'; exit "${PIPESTATUS[0]}") || status=$?
  [ -z "$out" ] || printf '%s\n' "$out"
  [ "$status" -eq 0 ] && [ -z "$out" ]
}

formatted() {
  local files
  mapfile -t files < <(find . \( -name .git -o -name node_modules -o -path ./build -o -path ./data \) -prune -o \
    -name '*.go' -print)
  silent "${tool[@]}" gofumpt -l "${files[@]}"
}

# SQLite's Go port is compiled C: it works with exactly the runtime library that it was compiled against.
libc() {
  local sqlite asked have
  sqlite=$(go list -m -f '{{.Version}}' modernc.org/sqlite) || return 1
  asked=$(go mod graph | sed -n "s|^modernc.org/sqlite@$sqlite modernc.org/libc@||p")
  have=$(go list -m -f '{{.Version}}' modernc.org/libc) || return 1
  [ -n "$asked" ] && [ "$asked" = "$have" ] && return 0
  echo "modernc.org/sqlite $sqlite asks for modernc.org/libc ${asked:-?}, go.mod has $have"
  return 1
}

scripts() {
  local f status=0
  for f in scripts/*.sh .ci/run; do
    bash -n "$f" || status=1
  done
  return "$status"
}

check "modules are tidy" silent go mod tidy -diff
check "modernc.org/libc is the one that sqlite asks for" libc
check "gofumpt" formatted
check "go vet" go vet ./...
check "golangci-lint" "${tool[@]}" golangci-lint run ./...
check "sqlc diff" silent "${tool[@]}" sqlc diff -f storage/sqlc.yaml
check "shell scripts" scripts

if [ ${#failed[@]} -gt 0 ]; then
  printf '== FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "== all checks passed"
