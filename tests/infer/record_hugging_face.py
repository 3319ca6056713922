#!/usr/bin/env python3
"""Records what the transformers library computes for small models of every architecture that Hugging Face folders are
read of, as tests/infer/testdata/hugging_face_logits.json.

    python3 -m venv /tmp/hf && /tmp/hf/bin/pip install torch transformers safetensors numpy
    /tmp/hf/bin/python tests/infer/record_hugging_face.py

Weights are not recorded: they follow from a tensor's name and an element's number by `weights`, which
tests/infer/hugging_face_test.cc repeats. A case has the config.json, the names and shapes of the tensors as the library
saves them, token ids, and the logits at some positions.
"""
import json
import os
import tempfile

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

VOCAB = 300
TOKENS = [1, 17, 242, 99, 5, 5, 180, 33, 71, 256, 12, 140, 201, 8, 64, 299, 27, 90, 111, 3]
POSITIONS = [0, 11, 19]
MASK = (1 << 64) - 1


def name_hash(name):
    value = 14695981039346656037  # FNV-1a
    for byte in name.encode():
        value = ((value ^ byte) * 1099511628211) & MASK
    return value


def weights(name, shape):
    """SplitMix64 of the name's hash and the element's number, in [-1, 1), scaled; norms around their neutral value."""
    count = int(np.prod(shape))
    z = (np.uint64(name_hash(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float64) / float(1 << 23) - 1.0
    if "norm" in name:
        values = unit * 0.25 + (0.0 if "gemma" in weights.kind else 1.0)
    elif len(shape) == 1:
        values = unit * 0.25
    else:
        values = unit * (1.5 / np.sqrt(shape[-1]))
    return values.astype(np.float32).reshape(shape)


def base(**more):
    return dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0,
                tie_word_embeddings=False, **more)


def rope(kind, **more):
    return {"rope_theta": 10000.0, "rope_type": kind, **more}


def cases():
    t = transformers
    yield "llama", t.LlamaConfig(**base(), attention_bias=True, mlp_bias=True)
    yield "llama_tied_llama3", t.LlamaConfig(**{**base(), "tie_word_embeddings": True}, head_dim=32, rope_parameters=rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16))
    yield "llama_linear", t.LlamaConfig(**base(), rope_parameters=rope("linear", factor=4.0))
    yield "llama_yarn", t.LlamaConfig(**base(), rope_parameters=rope(
        "yarn", factor=4.0, original_max_position_embeddings=32))
    yield "mistral_window", t.MistralConfig(**base(), sliding_window=5)
    yield "mixtral", t.MixtralConfig(**base(), num_local_experts=4, num_experts_per_tok=2)
    yield "qwen2", t.Qwen2Config(**base())
    yield "qwen3", t.Qwen3Config(**base(), head_dim=32)
    yield "qwen2moe", t.Qwen2MoeConfig(**base(), num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                       shared_expert_intermediate_size=64)
    yield "qwen3moe", t.Qwen3MoeConfig(**base(), head_dim=32, num_experts=4, num_experts_per_tok=2,
                                       moe_intermediate_size=32, norm_topk_prob=True)
    gemma = {**base(), "tie_word_embeddings": True}
    yield "gemma", t.GemmaConfig(**gemma, head_dim=32)
    yield "gemma2", t.Gemma2Config(**gemma, head_dim=32, query_pre_attn_scalar=32, sliding_window=5)
    yield "gemma3", t.Gemma3TextConfig(**{**gemma, "num_hidden_layers": 7}, head_dim=32, query_pre_attn_scalar=32,
                                       sliding_window=5)
    yield "phi3", t.Phi3Config(**base())
    yield "phi3_long", t.Phi3Config(**base(), original_max_position_embeddings=16, rope_parameters=rope(
        "longrope", short_factor=[1.0 + 0.1 * i for i in range(8)], long_factor=[2.0 + 0.5 * i for i in range(8)],
        original_max_position_embeddings=16))


def record(kind, config):
    weights.kind = kind
    with tempfile.TemporaryDirectory() as folder:
        model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(folder)
        path = os.path.join(folder, "model.safetensors")
        with safe_open(path, "np") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
        save_file({name: weights(name, shape) for name, shape in shapes.items()}, path, metadata={"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            logits = model(torch.tensor([TOKENS])).logits[0].float().numpy()
        with open(os.path.join(folder, "config.json")) as file:
            saved = json.load(file)
    saved.pop("transformers_version", None)
    return {"name": kind, "config": saved, "tensors": shapes,
            "logits": {str(p): [round(float(x), 5) for x in logits[p][::5]] for p in POSITIONS}}


def main():
    torch.manual_seed(0)
    out = {"transformers": transformers.__version__, "vocab": VOCAB, "tokens": TOKENS, "every": 5,
           "cases": [record(kind, config) for kind, config in cases()]}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "testdata", "hugging_face_logits.json")
    with open(path, "w") as file:
        file.write('{"transformers":%s,"vocab":%d,"tokens":%s,"every":5,"cases":[\n' % (
            json.dumps(out["transformers"]), VOCAB, json.dumps(TOKENS)))
        file.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in out["cases"]))
        file.write("\n]}\n")


if __name__ == "__main__":
    main()
