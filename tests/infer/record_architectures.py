"""Records what llama.cpp computes for small random models of every architecture, for tests/infer/architectures_test.cc.

usage: FATHOM_WRITE_ARCHITECTURES=FOLDER infer_test --gtest_filter=ArchitectureModels.Written
       record_architectures.py FOLDER OUTPUT.json

Needs llama-cpp-python (PyPI). The test's own models (tests/infer/architectures.h) are read as GGUF files, so that names and
shapes of tensors, keys and their defaults, the order of the elements that turn together, caps, scales and norms are all
llama.cpp's reading of them. Weights, keys and values are F32. Recorded are, for a fixed row of tokens: the whole logits after
some of them, the likeliest token and its lead over the second after each, and the tokens that greedy decoding goes on with.
"""
import json
import pathlib
import sys

import llama_cpp
import numpy as np

# Run with this context, where the model's own matters (long rotary factors); the models that llama.cpp does not run, or
# not as they say, are left out (tests/infer/architectures.h).
CONTEXTS = {"phi3_within": 256, "phi3_beyond": 1024}
LEFT_OUT = {"mistral", "mixtral_2023", "grok2_routing"}
WHOLE = [7, 39]
GREEDY = 12
F32 = 0


def tokens_of(vocab, count=40):
    """The same as in architectures_test.cc."""
    state, out = 1, []
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        out.append(state // 65536 % vocab)
    return out


def record(path):
    model = llama_cpp.Llama(str(path), n_ctx=CONTEXTS.get(path.stem, 128), n_batch=64, n_ubatch=64, n_threads=1, n_threads_batch=1,
                            flash_attn=False, type_k=F32, type_v=F32, logits_all=True, verbose=False)
    tokens = tokens_of(model.n_vocab())
    model.eval(tokens)
    logits = np.array(model.scores[:len(tokens)])
    ordered = np.sort(logits, axis=1)
    greedy = []
    for _ in range(GREEDY):
        last = model.scores[model.n_tokens - 1]
        greedy.append(int(np.argmax(last)))
        model.eval([greedy[-1]])
    return {"tokens": tokens, "best": [int(i) for i in logits.argmax(axis=1)],
            "leads": [round(float(v), 5) for v in ordered[:, -1] - ordered[:, -2]], "greedy": greedy,
            "logits": {str(i): [float(f"{v:.6g}") for v in logits[i]] for i in WHOLE}}


def main():
    folder, out_path = sys.argv[1:]
    models = {}
    for path in sorted(pathlib.Path(folder).glob("*.gguf")):
        if path.stem in LEFT_OUT:
            continue
        models[path.stem] = record(path)
        print(path.stem, models[path.stem]["best"][-4:], models[path.stem]["greedy"], flush=True)
    with open(out_path, "w") as f:
        f.write(f'{{"recorded_with": "llama-cpp-python {llama_cpp.__version__}, flash_attn=False, F32 keys and values",\n"models": {{\n')
        f.write(",\n".join(f"{json.dumps(name)}: {json.dumps(m, separators=(',', ':'))}" for name, m in models.items()))
        f.write("\n}}\n")


main()
