"""Compares infer_bench with llama-cpp-python on one model, on the same machine at the same time.

usage: llama_cpp.py INFER_BENCH MODEL.gguf [--threads 2] [--rounds 5] [--prompt 512] [--tokens 128] [--target AVX2]

Runs take turns, so that whatever else the machine does falls on both; medians and their ratio are printed. --target restricts
our kernels, never the peer, to an instruction set.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

PEER = """
import json, random, sys, time
import llama_cpp
model, threads, prompt, tokens = sys.argv[1], *map(int, sys.argv[2:])
start = time.perf_counter()
llama = llama_cpp.Llama(model, n_ctx=8192, n_threads=threads, n_threads_batch=threads, verbose=False)
load = time.perf_counter() - start
rss = next(int(l.split()[1]) / 1024 for l in open("/proc/self/status") if l.startswith("VmRSS"))
draw = random.Random(1)
ids = [draw.randrange(llama.n_vocab()) for _ in range(prompt)]
llama.eval(ids[:16])  # warm
llama.reset()
start = time.perf_counter()
llama.eval(ids)
prefill = prompt / (time.perf_counter() - start)
llama.reset()
llama.eval(llama.tokenize(b"1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,", add_bos=False))
start = time.perf_counter()
for i in range(tokens):
    llama.eval([ids[i % prompt]])
decode = tokens / (time.perf_counter() - start)
print(json.dumps({"version": llama_cpp.__version__, "load_seconds": load, "rss_mib_after_load": rss,
                  "prefill_tokens_per_second": prefill, "decode_tokens_per_second": decode}))
"""


def last_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--target", help="instruction set of infer_bench; without it the best of the processor")
    a = parser.parse_args()
    target = ["--target", a.target] if a.target else []
    ours, peer = [], []
    for _ in range(a.rounds):
        ours.append(last_json([a.bench, "--model", a.model, "--threads", str(a.threads), "--prompt", str(a.prompt), "--tokens", str(a.tokens),
                               "--runs", "1", "--json", *target]))
        peer.append(last_json([sys.executable, "-c", PEER, a.model, str(a.threads), str(a.prompt), str(a.tokens)]))
        time.sleep(0.5)
    print(f"llama-cpp-python {peer[0]['version']}, {a.threads} threads, {a.rounds} rounds, medians")
    print(f"{'':30}{'fathom':>10}{'llama.cpp':>12}{'ratio':>8}")
    for key in ("prefill_tokens_per_second", "decode_tokens_per_second", "load_seconds", "rss_mib_after_load"):
        x, y = (statistics.median(r[key] for r in side) for side in (ours, peer))
        print(f"{key:30}{x:10.2f}{y:12.2f}{x / y:8.2f}")
    share = statistics.median(r["decode_share_of_limit"] for r in ours)
    limit = statistics.median(r["read_bandwidth_gb_per_second"] for r in ours)
    print(f"decoding reaches {share:.0%} of the read bandwidth of {limit:.1f} GB/s")


main()
