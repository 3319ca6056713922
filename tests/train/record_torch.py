"""Records what PyTorch gives for three small models: weights, tokens, loss and every gradient, as safetensors files that
tests/train/torch_test.cc reads. The models are written here from the formulas of src/model/config.h, with autograd for the
backward pass, and share nothing with Fathom's code.

    /path/to/python tests/train/record_torch.py      (needs torch; writes tests/train/testdata/torch_*.safetensors)
"""
import json
import math
import pathlib
import struct

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
SEQUENCES, LENGTH = 2, 10
FOLDER = pathlib.Path(__file__).parent / "testdata"

LLAMA = dict(name="llama", layers=2, d=16, heads=4, kv=2, hd=6, ffn=20, vocab=30, rope=6, halves=False, act="silu", tied=True)
GEMMA = dict(name="gemma", layers=2, d=12, heads=2, kv=1, hd=8, ffn=16, vocab=24, rope=6, halves=True, act="gelu", tied=False,
             qk_norm=True, post=True, bias=True, window=[4, 0], attn_cap=2.0, final_cap=3.0, embed_scale=3.0, z=0.01)
GROK = dict(name="grok", layers=2, d=16, heads=4, kv=2, hd=4, ffn=20, vocab=26, rope=4, halves=True, act="gelu", tied=True,
            post=True, attn_cap=3.0, final_cap=4.0, embed_scale=4.0, logit_scale=0.6, experts=4, used=2, effn=8, router_cap=1.5,
            beside_scale=0.7, capacity=4, balance=0.3)
EPS = 1e-5


def make_weights(c, generator):
    w = {}

    def matrix(name, *shape, scale=0.3):
        w[name] = torch.randn(*shape, generator=generator) * scale

    def vector(name, n, base):
        w[name] = base + torch.randn(n, generator=generator) * 0.2

    d, q, kv = c["d"], c["heads"] * c["hd"], c["kv"] * c["hd"]
    matrix("token_embd.weight", c["vocab"], d)
    for layer in range(c["layers"]):
        b = f"blk.{layer}."
        vector(b + "attn_norm.weight", d, 1)
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            matrix(b + f"attn_{name}.weight", rows, d)
            if c.get("bias"):
                vector(b + f"attn_{name}.bias", rows, 0)
        if c.get("qk_norm"):
            vector(b + "attn_q_norm.weight", c["hd"], 1)
            vector(b + "attn_k_norm.weight", c["hd"], 1)
        matrix(b + "attn_output.weight", d, q)
        if c.get("bias"):
            vector(b + "attn_output.bias", d, 0)
        if c.get("post"):
            vector(b + "post_attention_norm.weight", d, 1)
            vector(b + "post_ffw_norm.weight", d, 1)
        vector(b + "ffn_norm.weight", d, 1)
        if c.get("experts"):
            matrix(b + "ffn_gate_inp.weight", c["experts"], d, scale=1.0)
            matrix(b + "ffn_gate_exps.weight", c["experts"], c["effn"], d)
            matrix(b + "ffn_up_exps.weight", c["experts"], c["effn"], d)
            matrix(b + "ffn_down_exps.weight", c["experts"], d, c["effn"])
        for name, rows, cols in (("gate", c["ffn"], d), ("up", c["ffn"], d), ("down", d, c["ffn"])):
            matrix(b + f"ffn_{name}.weight", rows, cols)
            if c.get("bias"):
                vector(b + f"ffn_{name}.bias", rows, 0)
    vector("output_norm.weight", d, 1)
    if not c["tied"]:
        matrix("output.weight", c["vocab"], d)
    return {k: v.float().double().requires_grad_() for k, v in w.items()}


def rms_norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * weight


def rotate(c, x, positions):
    """x: [tokens, heads, head_dim]; pair i turns by position * 10000^(-2i / dims)."""
    dims = c["rope"]
    angle = positions[:, None] * 10000.0 ** (-torch.arange(0, dims, 2) / dims)
    turn = torch.polar(torch.ones_like(angle), angle)[:, None]
    head, rest = x[..., :dims], x[..., dims:]
    if c["halves"]:
        pairs = torch.complex(head[..., : dims // 2], head[..., dims // 2 :]) * turn
        return torch.cat([pairs.real, pairs.imag, rest], -1)
    pairs = torch.complex(head[..., 0::2], head[..., 1::2]) * turn
    return torch.cat([torch.stack([pairs.real, pairs.imag], -1).flatten(-2), rest], -1)


def cap(x, limit):
    return limit * torch.tanh(x / limit) if limit else x


def activation(c, x):
    return F.silu(x) if c["act"] == "silu" else F.gelu(x, approximate="tanh")


def linear(c, w, name, h):
    return F.linear(h, w[name + ".weight"], w.get(name + ".bias"))


def attention(c, w, b, layer, h, starts):
    n = len(h)
    t = torch.arange(n)
    positions = (t - starts).double()
    q = linear(c, w, b + "attn_q", h).view(n, c["heads"], c["hd"])
    k = linear(c, w, b + "attn_k", h).view(n, c["kv"], c["hd"])
    v = linear(c, w, b + "attn_v", h).view(n, c["kv"], c["hd"])
    if c.get("qk_norm"):
        q, k = rms_norm(q, w[b + "attn_q_norm.weight"]), rms_norm(k, w[b + "attn_k_norm.weight"])
    q, k = rotate(c, q, positions), rotate(c, k, positions)
    group = c["heads"] // c["kv"]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = cap(torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(c["hd"]), c.get("attn_cap"))
    seen = (t[None] <= t[:, None]) & (t[None] >= starts[:, None])
    window = c.get("window", [0] * c["layers"])[layer]
    if window:
        seen &= t[None] > t[:, None] - window
    weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
    return linear(c, w, b + "attn_output", torch.einsum("hij,jhd->ihd", weights, v).reshape(n, -1))


def feed_forward(c, w, b, h):
    return linear(c, w, b + "ffn_down", activation(c, linear(c, w, b + "ffn_gate", h)) * linear(c, w, b + "ffn_up", h))


def mixture(c, w, b, h):
    """Of one sequence: the branch and the balance, before its weight."""
    logits = cap(h @ w[b + "ffn_gate_inp.weight"].T, c["router_cap"])
    probabilities = logits.softmax(-1)
    chosen = logits.topk(c["used"]).indices
    shares = logits.gather(1, chosen).softmax(-1)
    out = [0] * len(h)
    taken = [0] * c["experts"]
    for i in range(len(h)):
        for k in range(c["used"]):
            e = int(chosen[i, k])
            taken[e] += 1
            if taken[e] > c["capacity"]:
                continue
            gate, up, down = (w[b + f"ffn_{m}_exps.weight"][e] for m in ("gate", "up", "down"))
            out[i] = out[i] + shares[i, k] * (down @ (activation(c, gate @ h[i]) * (up @ h[i])))
    fraction = torch.bincount(chosen.flatten(), minlength=c["experts"]) / chosen.numel()
    balance = c["experts"] * (fraction * probabilities.mean(0)).sum()
    rows = torch.stack([x if torch.is_tensor(x) else torch.zeros(c["d"]) for x in out])
    return (rows + feed_forward(c, w, b, h)) * c["beside_scale"], balance


def forward(c, w, tokens, starts):
    x = w["token_embd.weight"][tokens] * c.get("embed_scale", 1.0)
    balance = 0
    for layer in range(c["layers"]):
        b = f"blk.{layer}."
        y = attention(c, w, b, layer, rms_norm(x, w[b + "attn_norm.weight"]), starts)
        x = x + (rms_norm(y, w[b + "post_attention_norm.weight"]) if c.get("post") else y)
        h = rms_norm(x, w[b + "ffn_norm.weight"])
        if c.get("experts"):
            y, more = mixture(c, w, b, h)
            balance = balance + more
        else:
            y = feed_forward(c, w, b, h)
        x = x + (rms_norm(y, w[b + "post_ffw_norm.weight"]) if c.get("post") else y)
    output = w["token_embd.weight" if c["tied"] else "output.weight"]
    logits = rms_norm(x, w["output_norm.weight"]) @ output.T * c.get("logit_scale", 1.0)
    return cap(logits, c.get("final_cap")), balance


def record(c):
    generator = torch.Generator().manual_seed(2)
    w = make_weights(c, generator)
    tokens = torch.randint(c["vocab"], (SEQUENCES, LENGTH), generator=generator)
    targets = torch.randint(c["vocab"], (SEQUENCES, LENGTH), generator=generator)
    targets[0, 3] = targets[1, 8] = -1
    starts = torch.zeros(SEQUENCES, LENGTH, dtype=torch.long)
    starts[1, 4:] = 4
    loss = balance = 0
    for s in range(SEQUENCES):
        logits, more = forward(c, w, tokens[s], starts[s])
        kept = targets[s] >= 0
        loss = loss + F.cross_entropy(logits[kept], targets[s][kept], reduction="sum")
        loss = loss + c.get("z", 0) * logits[kept].logsumexp(-1).pow(2).sum()
        balance = balance + c.get("balance", 0) * more
    total = loss / int((targets >= 0).sum()) + balance / SEQUENCES
    total.backward()
    out = {"tokens": tokens, "targets": targets, "starts": starts, "loss": loss, "balance": torch.as_tensor(balance)}
    for name, value in w.items():
        out[name] = value
        out["gradient." + name] = value.grad
    path = FOLDER / f"torch_{c['name']}.safetensors"
    write(path, out)
    print(path.name, path.stat().st_size, "bytes, loss", loss.item())


def write(path, tensors):
    header, data = {}, b""
    for name, value in tensors.items():
        raw = value.detach().float().contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


for config in (LLAMA, GEMMA, GROK):
    record(config)
