"""Compares `fathom bench` with llama.cpp's own llama-bench and llama-batched-bench on one model, in turns.

usage: llama_bench.py FATHOM MODEL.gguf [--tools DIR] [--threads 2] [--rounds 3] [--instruction-set AVX2]

--tools (or $LLAMA_TOOLS) is the folder of llama-bench and llama-batched-bench. Medians, bests and their ratios are printed.
--peer-options goes to both, for instance "-rtr 1" for ik_llama.cpp.
"""
import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

from side import in_turns, last_json, print_ratios


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fathom")
    parser.add_argument("model")
    parser.add_argument("--tools", default=os.environ.get("LLAMA_TOOLS"), help="folder of llama-bench ($LLAMA_TOOLS)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--sequences", default="1,4,8,16")
    parser.add_argument("--sequence-prompt", type=int, default=16)
    parser.add_argument("--sequence-tokens", type=int, default=64)
    parser.add_argument("--instruction-set", help="of our kernels; without it the best of the processor")
    parser.add_argument("--peer-options", default="", help="more arguments of llama-bench and llama-batched-bench")
    a = parser.parse_args()
    if not a.tools:
        sys.exit("give the folder of llama-bench with --tools or in $LLAMA_TOOLS")
    tools, more = pathlib.Path(a.tools), shlex.split(a.peer_options)

    def fathom():
        command = [a.fathom, "bench", a.model, "--json", "--runs", "1", "--threads", str(a.threads), "--prompt", str(a.prompt),
                   "--tokens", str(a.tokens), "--sequences", a.sequences, "--sequence-prompt", str(a.sequence_prompt),
                   "--sequence-tokens", str(a.sequence_tokens)]
        if a.instruction_set:
            command += ["--instruction-set", a.instruction_set]
        r = last_json(command)
        out = {"prefill": r["prefill_tokens_per_second"]["median"], "decode": r["decode_tokens_per_second"]["median"]}
        return out | {f"decode_{b['sequences']}_sequences": b["tokens_per_second"]["median"] for b in r["batched_decode"]}

    def llama():
        rows = json.loads(run([tools / "llama-bench", "-m", a.model, "-t", str(a.threads), "-p", str(a.prompt), "-n", str(a.tokens),
                               "-r", "1", "-o", "json", *more]))
        out = {"prefill" if row["n_gen"] == 0 else "decode": row["avg_ts"] for row in rows}
        most = max(int(c) for c in a.sequences.split(","))
        lines = run([tools / "llama-batched-bench", "-m", a.model, "-t", str(a.threads), "-npp", str(a.sequence_prompt), "-ntg",
                     str(a.sequence_tokens), "-npl", a.sequences, "-c", str(most * (a.sequence_prompt + a.sequence_tokens) + 64),
                     "--output-format", "jsonl", *more])
        for line in lines.splitlines():
            if line.startswith("{"):
                row = json.loads(line)
                out[f"decode_{row['pl']}_sequences"] = row["speed_tg"]
        return out

    ours, peer = in_turns(a.rounds, fathom, llama)
    print_ratios(f"llama.cpp's tools, {a.threads} threads, {a.rounds} rounds, tokens/s: medians, then bests", ours, peer, "llama.cpp")


main()
