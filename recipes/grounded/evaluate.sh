#!/usr/bin/env bash
# recipes/grounded/evaluate.sh: the table of README.md. Worlds of two seeds, the storylines of held_out.txt alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
fathom=${FATHOM:-build/release/fathom}
model=${MODEL:-.fathom/models/SmolLM2-135M-Instruct.Q4_1.gguf}
adapter=${ADAPTER:-recipes/grounded/adapter}
held_out=$(paste -sd, recipes/grounded/held_out.txt)
work=build/grounded

score() { # score LABEL WRITER [FLAGS]
  local label=$1 writer=$2 seed
  shift 2
  for seed in 90 91; do
    printf '\n%s, seed %s\n' "$label" "$seed"
    "$fathom" eval answers "$work/world-$seed/truth.json" --storylines "$held_out" --writer "$writer" --model "$model" "$@"
  done
}

mkdir -p "$work"
for seed in 90 91; do "$fathom" world --seed "$seed" --posts 10000 --out "$work/world-$seed" > "$work/world.log"; done
score "extractive writer" extract
score "base model, checked" auto
score "base model, its own words" model
[ -e "$adapter/adapter_model.safetensors" ] || exit 0
score "fine-tuned model, checked" auto --adapter "$adapter"
score "fine-tuned model, its own words" model --adapter "$adapter"
