#!/usr/bin/env bash
# recipes/starter/run.sh [RAW [WORK]]: the starter model from raw data to a GGUF file, in one command.
#
# RAW (../shared/data beside the checkout) has the data sets that README.md lists; everything is made in WORK
# (.fathom/starter). What is there already is not made again, and training goes on where it stopped, so the same command
# resumes after a stop. FATHOM names the program (build/release/fathom). --data-only as the first word ends before training.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$recipe/../.."

data_only=
if [ "${1:-}" = --data-only ]; then data_only=1; shift; fi
raw=${1:-../shared/data} work=${2:-.fathom/starter}
fathom=${FATHOM:-build/release/fathom}

if [ ! -e "$work/tokens/tokenizer.gguf" ]; then  # what is written last
  rm -rf "$work/tokens"
  python3 "$recipe/make_documents.py" "$raw" "$work/documents"
  "$fathom" tokenizer train --vocab 8192 --chat --out "$work/tokenizer" "$work/documents"
  # Reading tasks share passages and differ in their questions: only what is all but equal is a duplicate here.
  "$fathom" data prepare --tokenizer "$work/tokenizer" --chat --learn-all --near 0.95 --holdout 1% \
    --out "$work/tokens" "$work/documents"
fi
[ -z "$data_only" ] || exit 0

cp "$recipe/model.toml" "$recipe/train.toml" "$work/"
"$fathom" train "$work/train.toml"
"$fathom" train export "$work/run" --out "$work/starter-f16.gguf" --dtype F16
"$fathom" quantize "$work/starter-f16.gguf" "$work/starter.gguf" --type Q4_0 --force
ls -l "$work/starter.gguf"
