#!/usr/bin/env bash
# go vet, a short pass over every fuzz target, then every test with the race detector. Arguments go to go test.
# Where peers are absent their tests skip, and a summary at the end says which; with CI=true an absent peer is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${CI:-}" = true ]; then
  export SALLYPORT_TEST_REQUIRE=${SALLYPORT_TEST_REQUIRE:-all}
fi
mkdir -p build
log=build/test.log

status=0
echo "== go vet"
CGO_ENABLED=0 go vet ./... || status=1

echo "== fuzz"
scripts/fuzz.sh 30 || status=1

# The race detector needs a C compiler; the product does not.
race=(-race)
if ! command -v "$(go env CC)" >/dev/null; then
  race=()
  [ "${CI:-}" != true ] || { echo "no C compiler, so no race detector: not in CI" >&2; exit 1; }
fi

echo "== go test ${race[*]:-(without the race detector: no C compiler)} $* ./..."
# -v tells about skipped tests; the filter shows a passed package in one line and a failed one in full. What the compiler
# says belongs to no package's lines and is shown at once.
CGO_ENABLED=${race:+1} go test ${race[@]+"${race[@]}"} -v -timeout "${SALLYPORT_TEST_TIMEOUT:-25m}" "$@" ./... 2>&1 |
  tee "$log" | awk '
    /^(ok  |\?   )\t/                                { held = ""; print; fflush(); next }
    /^FAIL\t/                                        { printf "%s%s\n", held, $0; held = ""; fflush(); next }
    /^(=== (RUN|PAUSE|CONT|NAME)|[ ]*--- (PASS|SKIP))/ { next }
    /^# / || /^[^ \t]+\.go:[0-9]+:[0-9]+: /           { print; fflush(); next }
    { held = held $0 "\n" }
    END { printf "%s", held }' || status=1

absent=$(grep -oE 'peer [a-z0-9_-]+ is absent: .*' "$log" | sort | uniq -c || true)
if [ -n "$absent" ]; then
  printf '== Peers that did not run, and how many tests skipped for it:\n%s\n' "$absent"
fi
if [ ${#race[@]} -eq 0 ]; then
  echo "== The race detector did not run: there is no C compiler."
fi
exit "$status"
