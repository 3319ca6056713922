#!/usr/bin/env bash
# recipes/grounded/run.sh [--quick]: from raw data to recipes/grounded/adapter, and its evaluation. README.md explains.
#   DATA=../shared/data   where qa/ and posts/ lie
#   --quick               a few steps, to see that everything fits together; the adapter stays in build/grounded
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
fathom=${FATHOM:-build/release/fathom}
recipe=recipes/grounded
work=build/grounded
data=${DATA:-../shared/data}
name=SmolLM2-135M-Instruct.Q4_1.gguf
model=${MODEL:-.fathom/models/$name}
quick=() run=$work/run
if [ "${1:-}" = --quick ]; then
  run=$work/quick
  rm -rf "$run"
  quick=(--set schedule.steps=3 --set schedule.warmup=1 --set folder=../../build/grounded/quick)
fi

mkdir -p "$work"
ln -sf "$(realpath "$model")" "$work/$name"

# 1. Sample worlds, and what a model would be shown for each of their questions.
for seed in 11 12 13 14 15 16; do
  "$fathom" world --seed "$seed" --posts 10000 --out "$work/world-$seed" > "$work/world.log"
  "$fathom" eval cases "$work/world-$seed/truth.json" > "$work/world-$seed.cases"
done

# 2. Cases with replies, dialogues, tokens.
"$recipe/make_cases.py" "$work"/world-1?.cases --data "$data" --held-out "$recipe/held_out.txt" --out "$work/cases.ndjson"
"$fathom" eval prompts "$work/cases.ndjson" > "$work/dialogues.ndjson"
rm -rf "$work/tokens"
"$fathom" data prepare --chat --tokenizer "$work/$name" --keep-duplicates --out "$work/tokens" "$work/dialogues.ndjson"

# 3. Training. Started again, it goes on from its last checkpoint.
"$fathom" train "$recipe/train.toml" "${quick[@]}"
adapter=$work/adapter
rm -rf "$adapter"
"$fathom" train export "$run" --out "$adapter" --adapter
if [ ${#quick[@]} = 0 ]; then
  mkdir -p "$recipe/adapter"
  cp "$adapter"/adapter_{config.json,model.safetensors} "$recipe/adapter/"
fi

# 4. Evaluation on storylines and a seed that were not trained on.
FATHOM=$fathom MODEL=$model ADAPTER=$adapter "$recipe/evaluate.sh"
