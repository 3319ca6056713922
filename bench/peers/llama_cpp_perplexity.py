"""The perplexity of a model on a text as llama.cpp gives it, and the token ids for bench/perplexity_bench.cc.

usage: llama_cpp_perplexity.py MODEL.gguf TEXT IDS.txt [WINDOW [WINDOWS [THREADS]]]

Needs llama-cpp-python (PyPI). The text is tokenised with the model's own vocabulary and cut into windows, which begin with the begin token if
the model wants one; each is read from an empty cache, and every token of a window but the first counts.
"""
import sys

sys.path.pop(0)  # llama_cpp.py beside this file is not the package
import llama_cpp  # noqa: E402
import numpy as np  # noqa: E402


def main():
    model, text, ids_path = sys.argv[1:4]
    window = int(sys.argv[4]) if len(sys.argv) > 4 else 512
    windows = int(sys.argv[5]) if len(sys.argv) > 5 else 6
    threads = int(sys.argv[6]) if len(sys.argv) > 6 else 2
    llm = llama_cpp.Llama(model, n_ctx=window, n_batch=window, n_threads=threads, n_threads_batch=threads, logits_all=True, verbose=False)
    begin = [llm.token_bos()] if llm.metadata.get("tokenizer.ggml.add_bos_token") == "true" else []
    with open(text, "rb") as file:
        text_ids = llm.tokenize(file.read(), add_bos=False, special=False)
    fresh = window - len(begin)
    ids = sum((begin + text_ids[at:at + fresh] for at in range(0, min(len(text_ids), fresh * windows), fresh)), [])
    with open(ids_path, "w", encoding="ascii") as file:
        file.write(" ".join(map(str, ids)) + "\n")
    total, counted = 0.0, 0
    for at in range(0, len(ids) - window + 1, window):
        tokens = ids[at:at + window]
        llm.reset()
        llm.eval(tokens)
        logits = np.asarray(llm.scores[:window - 1], np.float64)
        most = logits.max(axis=1)
        total += (most + np.log(np.exp(logits - most[:, None]).sum(axis=1)) - logits[np.arange(window - 1), tokens[1:]]).sum()
        counted += window - 1
    print(f"perplexity {np.exp(total / counted):.5f} over {counted} tokens")


main()
