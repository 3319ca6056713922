#!/usr/bin/env bash
# Compiles the kernels (src/tensor) for 64-bit Arm, whose vectors are NEON's, without linking or running them: what only
# x86 has must not have slipped into the portable paths. Needs Debian's g++-12-aarch64-linux-gnu.
#
#   tools/check_neon.sh [COMPILER]
set -euo pipefail
cd "$(dirname "$0")/.."

compiler=${1:-aarch64-linux-gnu-g++-12}
if ! command -v "$compiler" >/dev/null; then
  echo "check_neon: $compiler is not installed; on Debian: apt-get install g++-12-aarch64-linux-gnu" >&2
  exit 2
fi

# Highway and fmt are headers that do not depend on the processor; x86's own headers must not be found beside them.
include=$(mktemp -d)
trap 'rm -rf "$include"' EXIT
for library in hwy fmt; do ln -s "/usr/include/$library" "$include/$library"; done

status=0
while IFS= read -r source; do
  echo "  $source"
  "$compiler" -std=c++20 -O1 -Wall -Wextra -Werror -Wno-maybe-uninitialized -DFMT_HEADER_ONLY -Isrc -isystem "$include" \
    -c "$source" -o /dev/null || status=1
done < <(find src/tensor -name '*.cc' | sort)
if [ "$status" = 0 ]; then echo "check_neon: all compile"; fi
exit "$status"
