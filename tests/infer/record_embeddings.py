#!/usr/bin/env python3
"""Records what a BERT-family model makes of texts, as tests/infer/testdata/embeddings_minilm.json.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install numpy safetensors tokenizers
    /tmp/peers/bin/python tests/infer/record_embeddings.py FOLDER_OF_ALL_MINILM_L6_V2

The reference is the model written out with numpy in double precision, over Hugging Face's tokenizers: [CLS] text [SEP], at
most max_seq_length tokens, mean of all tokens, length 1 (what sentence-transformers does).
A case is {"text", "tokens", "values"}.
"""
import json
import math
import os
import sys

import numpy
from safetensors.numpy import load_file
from tokenizers import Tokenizer

TEXTS = [
    "", " ", "Hello world", "The quick brown fox jumps over the lazy dog.", "A man is playing a guitar on stage.",
    "Someone performs music with a guitar.", "Tsunami warning issued after a M7.1 quake \U0001f30a #quake https://t.co/AbC123xYz",
    "\u00c9t\u00e9 na\u00efve \u00fcber Stra\u00dfe \u0130stanbul \ufb01x", "\u4f60\u597d\uff0c\u4e16\u754c\uff01 \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u05e9\u05dc\u05d5\u05dd", "\x00\x01\x02\x1f", "\U0001f600\U0001f680\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "[CLS] is not a token here [SEP]", "supercalifragilisticexpialidocious" * 4, "word " * 300,
    "Prices rose 2.5% in March, said the bank; rates stay at 4.25% until the committee meets again. " * 12,
]

erf = numpy.vectorize(math.erf)


class Model:
    def __init__(self, folder):
        self.w = {name: tensor.astype(numpy.float64) for name, tensor in load_file(os.path.join(folder, "model.safetensors")).items()
                  if tensor.dtype != numpy.int64}
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            self.config = json.load(file)

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def norm(self, x, name):
        mean = x.mean(-1, keepdims=True)
        spread = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) / numpy.sqrt(spread + self.config["layer_norm_eps"]) * self.w[name + ".weight"] + self.w[name + ".bias"]

    def __call__(self, ids):
        e = "embeddings."
        x = self.w[e + "word_embeddings.weight"][ids] + self.w[e + "position_embeddings.weight"][:len(ids)]
        x = self.norm(x + self.w[e + "token_type_embeddings.weight"][0], e + "LayerNorm")
        heads = self.config["num_attention_heads"]
        for layer in range(self.config["num_hidden_layers"]):
            p = f"encoder.layer.{layer}."
            split = lambda y: y.reshape(len(ids), heads, -1).transpose(1, 0, 2)
            q, k, v = (split(self.linear(x, p + "attention.self." + part)) for part in ("query", "key", "value"))
            s = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
            s = numpy.exp(s - s.max(-1, keepdims=True))
            a = (s / s.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), -1)
            x = self.norm(x + self.linear(a, p + "attention.output.dense"), p + "attention.output.LayerNorm")
            h = self.linear(x, p + "intermediate.dense")
            h = h / 2 * (1 + erf(h / math.sqrt(2)))
            x = self.norm(x + self.linear(h, p + "output.dense"), p + "output.LayerNorm")
        pooled = x.mean(0)
        return pooled / numpy.linalg.norm(pooled)


def tokenizer_of(folder):
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
        content = json.load(file)
    content.update(added_tokens=[], post_processor=None, truncation=None, padding=None)  # what users write is no [SEP]
    return Tokenizer.from_str(json.dumps(content))


def main():
    folder = sys.argv[1]
    model, tokenizer = Model(folder), tokenizer_of(folder)
    with open(os.path.join(folder, "sentence_bert_config.json"), encoding="utf-8") as file:
        most = json.load(file)["max_seq_length"]
    cases = []
    for text in TEXTS:
        ids = [101] + tokenizer.encode(text, add_special_tokens=False).ids[:most - 2] + [102]
        cases.append({"text": text, "tokens": len(ids), "values": [float(f"{value:.7f}") for value in model(ids)]})
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "testdata", "embeddings_minilm.json")
    with open(out, "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
