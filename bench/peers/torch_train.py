#!/usr/bin/env python3
"""Training steps of PyTorch beside Fathom's, on random tokens, in turns.

usage: torch_train.py TRAIN_BENCH [--model llama-10m|gpt2-size|gpt2] [--python PYTHON] [--precision f32|bf16] [--rounds 3]

TRAIN_BENCH is the program of bench/train_bench.cc; --python is the interpreter whose torch is measured. Both sides do
forward, backward, clipping and AdamW in 2 threads. PyTorch runs as its users run it: fused attention
(scaled_dot_product_attention) where it has it, AdamW as it comes; --fused for its fused one, --compile for torch.compile.
--model gpt2 is GPT-2 124M itself (LayerNorm, learned positions, GELU) on PyTorch's side, gpt2-size on ours.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import time

from side import in_turns, last_json, print_ratios

SHAPES = {  # layers, d_model, heads, ffn, vocab, gated
    "llama-10m": (8, 256, 8, 1024, 8192, True),
    "gpt2-size": (12, 768, 12, 2048, 50257, True),
    "gpt2": (12, 768, 12, 3072, 50257, False),
}


def build(torch, shape, length):
    nn, F = torch.nn, torch.nn.functional
    layers, d, heads, ffn, vocab, gated = shape
    fused = hasattr(F, "scaled_dot_product_attention")

    class RMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(d))

        def forward(self, x):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight

    norm = RMSNorm if gated else lambda: nn.LayerNorm(d)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            bias = not gated
            self.norm1, self.norm2 = norm(), norm()
            self.qkv, self.out = nn.Linear(d, 3 * d, bias), nn.Linear(d, d, bias)
            self.up, self.down = nn.Linear(d, 2 * ffn if gated else ffn, bias), nn.Linear(ffn, d, bias)

        def turn(self, x, cos, sin):
            a, b = x.chunk(2, -1)
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

        def attend(self, x, cos, sin, mask):
            n, t, _ = x.shape
            q, k, v = (p.view(n, t, heads, d // heads).transpose(1, 2) for p in self.qkv(x).split(d, 2))
            if gated:
                q, k = self.turn(q, cos, sin), self.turn(k, cos, sin)
            if fused:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(d // heads))
                y = F.softmax(scores.masked_fill(mask, float("-inf")), -1) @ v
            return self.out(y.transpose(1, 2).reshape(n, t, d))

        def forward(self, x, cos, sin, mask):
            x = x + self.attend(self.norm1(x), cos, sin, mask)
            h = self.up(self.norm2(x))
            if gated:
                a, b = h.chunk(2, -1)
                return x + self.down(F.silu(a) * b)
            return x + self.down(F.gelu(h))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocab, d)
            self.position = nn.Embedding(length, d) if not gated else None
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = norm()
            half = d // heads // 2
            angle = torch.outer(torch.arange(length).float(), 10000.0 ** (-torch.arange(half).float() / half))
            self.register_buffer("cos", angle.cos())
            self.register_buffer("sin", angle.sin())
            self.register_buffer("mask", torch.triu(torch.ones(length, length, dtype=torch.bool), 1))
            self.apply(lambda m: nn.init.normal_(m.weight, 0, 0.02) if isinstance(m, (nn.Linear, nn.Embedding)) else None)

        def forward(self, tokens, targets):
            x = self.embedding(tokens)
            if self.position is not None:
                x = x + self.position.weight[: tokens.shape[1]]
            for block in self.blocks:
                x = block(x, self.cos, self.sin, self.mask)
            logits = F.linear(self.norm(x), self.embedding.weight)
            return F.cross_entropy(logits.view(-1, vocab), targets.view(-1))

    return Model()


def train(o):
    import contextlib
    import resource

    import torch

    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    shape = SHAPES[o.model]
    model = build(torch, shape, o.length)
    options = {"fused": True} if int(torch.__version__.split(".")[0]) >= 2 and o.fused else {}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, **options)
    step_model = torch.compile(model) if o.compile else model
    context = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if o.precision == "bf16" else contextlib.nullcontext
    tokens = torch.randint(0, shape[4], (o.sequences, o.length + 1))
    seconds = []
    for step in range(o.steps + 2):
        start = time.perf_counter()
        for part in tokens.split(o.micro or o.sequences):
            with context():
                loss = step_model(part[:, :-1].contiguous(), part[:, 1:].contiguous())
            (loss * len(part) / o.sequences).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if step >= 2:
            seconds.append(time.perf_counter() - start)
    step_time = sorted(seconds)[len(seconds) // 2]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"tokens_per_s": o.sequences * o.length / step_time, "step_time": step_time, "memory_mib": memory,
                      "loss": loss.item(), "torch": torch.__version__}))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="train_bench, or 'torch' to run PyTorch's side alone")
    parser.add_argument("--model", default="llama-10m", choices=SHAPES)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--precision", default="f32", choices=("f32", "bf16"))
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--micro", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--fused", action="store_true", help="AdamW(fused=True)")
    return parser.parse_args()


def main():
    o = arguments()
    if o.program == "torch":
        return train(o)
    common = [f"--{key}={getattr(o, key)}" for key in ("sequences", "length", "micro", "steps", "threads", "precision")]
    description = "gpt2-size" if o.model == "gpt2" else o.model
    ours = [o.program, "--model", str(pathlib.Path(__file__).parent.parent / "train" / f"{description}.toml"), *common]
    peer = [o.python, __file__, "torch", "--model", o.model, *common]
    peer += [f"--{flag}" for flag in ("compile", "fused") if getattr(o, flag)]
    results = in_turns(o.rounds, lambda: last_json(ours), lambda: last_json(peer))
    print_ratios(f"{o.model}, {o.sequences} x {o.length}, {o.precision}, torch {results[1][0]['torch']}", *results, "torch",
                 lower_is_better=("step_time", "memory_mib", "loss"))
    share = sorted(r["share_of_product_rate"] for r in results[0])
    print(f"share of the rate of products: {share[len(share) // 2]:.2f} of {results[0][0]['product_gflops']:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
