#!/usr/bin/env bash
# tools/fuzz.sh [SECONDS] [NAMES]: runs each libFuzzer program (or those whose whole names match the extended regular
# expression NAMES) for SECONDS from its committed corpus, as many at a time as there are cores. What it finds anew stays in
# build/asan/fuzz; a crash leaves its input there and fails. FATHOM_FUZZ_SEED (1 unless set; 0: another each time) begins the
# mutations, so that what decides over a change is not drawn by lot; hunts use 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/common.sh

seconds=${1:-60} only=${2:-.*} seed=${FATHOM_FUZZ_SEED:-1}
ensure_packages run test check
configure asan ON
build asan fuzzers > /dev/null

names=$(for program in build/asan/tests/fuzz/*_fuzz; do basename "$program" _fuzz; done | grep -xE "$only") ||
  die "There is no fuzzer whose name matches '$only'."

fuzz_one() {
  local name=$1 found=build/asan/fuzz/$1
  mkdir -p "$found" "tests/fuzz/corpus/$name"
  "build/asan/tests/fuzz/${name}_fuzz" -seed="$seed" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -artifact_prefix="$found/" -verbosity=0 "$found" "tests/fuzz/corpus/$name" > "$found.log" 2>&1 && return 0
  tail -n 40 "$found.log" >&2
  say "The fuzzer '$name' failed; its input is in $found."
  return 255  # ends the run
}
export -f fuzz_one say
export seconds seed
xargs -P "$(nproc)" -I{} bash -c 'fuzz_one {}' <<< "$names"
say "$(wc -w <<< "$names") fuzzers ran $seconds s each and found nothing"
