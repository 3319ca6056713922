#!/usr/bin/env bash
# tools/fuzz.sh [SECONDS] [NAME]: runs each libFuzzer program (or the one named) for SECONDS from its committed corpus. What
# it finds anew stays in build/asan/fuzz; a crash leaves its input there and fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/common.sh

seconds=${1:-60} only=${2:-}
ensure_packages run test check
configure asan ON
build asan fuzzers > /dev/null
passed=0
for program in build/asan/tests/fuzz/*_fuzz; do
  name=$(basename "$program" _fuzz)
  [ -z "$only" ] || [ "$only" = "$name" ] || continue
  found=build/asan/fuzz/$name
  mkdir -p "$found" "tests/fuzz/corpus/$name"
  "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -artifact_prefix="$found/" -verbosity=0 \
    "$found" "tests/fuzz/corpus/$name" > "$found.log" 2>&1 || {
    tail -n 40 "$found.log" >&2
    die "The fuzzer '$name' failed; its input is in $found."
  }
  passed=$((passed + 1))
done
[ $passed -gt 0 ] || die "There is no fuzzer${only:+ named '$only'}."
say "$passed fuzzers ran $seconds s each and found nothing"
