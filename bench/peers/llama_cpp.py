"""Compares `fathom bench` with llama-cpp-python on one model, on the same machine at the same time.

usage: llama_cpp.py FATHOM MODEL.gguf [--threads 2] [--rounds 3] [--prompt 512] [--tokens 128] [--sequences 1,4,8,16]
                    [--instruction-set AVX2]

Runs take turns, so that whatever else the machine does falls on both; medians, bests and their ratios are printed. The python
that runs this has llama-cpp-python. --instruction-set restricts our kernels, never the peer, to an instruction set.
"""
import argparse
import sys

from side import in_turns, last_json, print_ratios

# Decodes through llama_batch itself: one token of each sequence a step, all with logits, the next ones chosen greedily.
PEER = """
import json, random, sys, time
import numpy
import llama_cpp
model, threads, prompt, tokens, batch_prompt, batch_tokens = sys.argv[1], *map(int, sys.argv[2:7])
counts = [int(c) for c in sys.argv[7].split(",") if c]
start = time.perf_counter()
llama = llama_cpp.Llama(model, n_ctx=8192, n_threads=threads, n_threads_batch=threads, verbose=False)
out = {"load_seconds": time.perf_counter() - start}
rss = next(int(l.split()[1]) / 1024 for l in open("/proc/self/status") if l.startswith("VmRSS"))
draw = random.Random(1)
vocab = llama.n_vocab()
ids = [draw.randrange(vocab) for _ in range(prompt)]
llama.eval(ids[:16])  # warm
llama.reset()
start = time.perf_counter()
llama.eval(ids)
out["prefill_tokens_per_second"] = prompt / (time.perf_counter() - start)
llama.reset()
llama.eval(ids[:batch_prompt])
start = time.perf_counter()
for i in range(tokens):
    llama.eval([ids[i % prompt]])
out["decode_tokens_per_second"] = tokens / (time.perf_counter() - start)
del llama

weights = llama_cpp.llama_model_load_from_file(model.encode(), llama_cpp.llama_model_default_params())

def together(count):
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = count * (batch_prompt + batch_tokens + 8)
    params.n_seq_max = count
    params.n_batch = params.n_ubatch = max(512, count * batch_prompt)
    params.n_threads = params.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(weights, params)
    batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)

    def step(entries):  # (token, position, sequence, wants logits)
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, wants) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, wants
        if llama_cpp.llama_decode(context, batch) != 0:
            sys.exit("llama_decode failed")
        wanted = [i for i, entry in enumerate(entries) if entry[3]]
        rows = (numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), shape=(vocab,)) for i in wanted)
        return [int(row.argmax()) for row in rows]

    next_tokens = step([(draw.randrange(vocab), p, s, p == batch_prompt - 1)
                        for s in range(count) for p in range(batch_prompt)])
    begin = time.perf_counter()
    for i in range(batch_tokens - 1):
        next_tokens = step([(next_tokens[s], batch_prompt + i, s, True) for s in range(count)])
    seconds = time.perf_counter() - begin
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    return count * (batch_tokens - 1) / seconds

for count in counts:
    out[f"decode_{count}_sequences"] = together(count)
out["rss_mib_after_load"] = rss
out["version"] = llama_cpp.__version__
print(json.dumps(out))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fathom")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--sequences", default="1,4,8,16")
    parser.add_argument("--sequence-prompt", type=int, default=16)
    parser.add_argument("--sequence-tokens", type=int, default=64)
    parser.add_argument("--instruction-set", help="of our kernels; without it the best of the processor")
    a = parser.parse_args()

    def fathom():
        command = [a.fathom, "bench", a.model, "--json", "--runs", "1", "--threads", str(a.threads), "--prompt", str(a.prompt),
                   "--tokens", str(a.tokens), "--sequences", a.sequences, "--sequence-prompt", str(a.sequence_prompt),
                   "--sequence-tokens", str(a.sequence_tokens)]
        if a.instruction_set:
            command += ["--instruction-set", a.instruction_set]
        r = last_json(command)
        out = {key: r[key]["median"] for key in ("prefill_tokens_per_second", "decode_tokens_per_second")}
        out |= {f"decode_{b['sequences']}_sequences": b["tokens_per_second"]["median"] for b in r["batched_decode"]}
        out["load_seconds"] = r["load_seconds"]
        out["rss_mib_after_load"] = r["memory"]["resident_after_load_bytes"] / 2**20
        out["decode_share"], out["prefill_share"] = r["decode_share_of_limit"], r["prefill_share_of_limit"]
        out["read_gb"] = r["machine"]["read_bytes_per_second"] / 1e9
        return out

    def llama():
        return last_json([sys.executable, "-c", PEER, a.model, str(a.threads), str(a.prompt), str(a.tokens), str(a.sequence_prompt),
                          str(a.sequence_tokens), a.sequences])

    ours, peer = in_turns(a.rounds, fathom, llama)
    print_ratios(f"llama-cpp-python {peer[0]['version']}, {a.threads} threads, {a.rounds} rounds: medians, then bests", ours, peer,
                 "llama.cpp", ("load_seconds", "rss_mib_after_load"))
    for what, limit in (("decode", "the read bandwidth"), ("prefill", "the peak")):
        print(f"{what} reaches at best {max(r[what + '_share'] for r in ours):.0%} of {limit}")
    print(f"read bandwidth at most {max(r['read_gb'] for r in ours):.1f} GB/s")


main()
