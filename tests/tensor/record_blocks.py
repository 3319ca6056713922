"""Records what ggml makes of quantised blocks, for tests/tensor/blocks_test.cc.

usage: record_blocks.py OUTPUT.json

Needs llama-cpp-python, gguf and numpy (PyPI). For each format: rows of blocks (one quantised by ggml from normal numbers, the
others of random bits with sane scales), their numbers as ggml's reference dequantiser gives them, and their products
with one row of activations as ggml's CPU kernels compute them (the activations quantised by ggml as well). The gguf package's
dequantiser must agree with ggml's to the bit before anything is written. Bytes are hexadecimal, floats little-endian.
"""
import ctypes
import json
import os
import sys

import gguf
import llama_cpp
import numpy as np

COLS = 512
FORMATS = {  # name: (GGML type, offsets of the f16 numbers in a block)
    "Q4_0": (2, [0]), "Q4_1": (3, [0, 2]), "Q5_0": (6, [0]), "Q5_1": (7, [0, 2]), "Q8_0": (8, [0]), "Q2_K": (10, [80, 82]),
    "Q3_K": (11, [108]), "Q4_K": (12, [0, 2]), "Q5_K": (13, [0, 2]), "Q6_K": (14, [208]), "IQ4_NL": (20, [0]), "IQ4_XS": (23, [0]),
}


class CpuTraits(ctypes.Structure):
    FROM_FLOAT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    VEC_DOT = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
                               ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    _fields_ = [("from_float", FROM_FLOAT), ("vec_dot", VEC_DOT), ("vec_dot_type", ctypes.c_int), ("nrows", ctypes.c_int64)]


def load_ggml():
    folder = os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
    base = ctypes.CDLL(os.path.join(folder, "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
    cpu = ctypes.CDLL(os.path.join(folder, "libggml-cpu.so"), mode=ctypes.RTLD_GLOBAL)
    base.ggml_row_size.restype = ctypes.c_size_t
    base.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    base.ggml_quantize_chunk.restype = ctypes.c_size_t
    base.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    cpu.ggml_cpu_init()
    cpu.ggml_get_type_traits_cpu.restype = ctypes.POINTER(CpuTraits)
    return base, cpu


def make_rows(base, rng, kind, halves):
    size = base.ggml_row_size(kind, COLS)
    rows = np.zeros((3, size), np.uint8)
    numbers = (rng.standard_normal((1, COLS)) * 0.05).astype(np.float32)
    base.ggml_quantize_chunk(kind, numbers.ctypes.data, rows.ctypes.data, 0, 1, COLS, None)
    block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)][1]
    rows[1:] = rng.integers(0, 256, rows[1:].shape, np.uint8)
    for row in rows[1:]:
        for at in range(0, size, block):
            for half in halves:
                row[at + half:at + half + 2] = np.frombuffer(np.float16(rng.standard_normal() * 0.05).tobytes(), np.uint8)
    return rows


def dequantise(base, name, rows):
    out = np.zeros((len(rows), COLS), np.float32)
    function = getattr(base, "dequantize_row_" + (name if name.endswith("_K") else name.lower()).replace("Q", "q"))
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function(rows.ctypes.data, out.ctypes.data, out.size)
    kind = gguf.GGMLQuantizationType(FORMATS[name][0])
    assert np.array_equal(gguf.quants.dequantize(rows, kind).view(np.uint32), out.view(np.uint32)), name
    return out


def products(base, cpu, kind, rows, x):
    traits = cpu.ggml_get_type_traits_cpu(kind).contents
    quantised = np.zeros(base.ggml_row_size(traits.vec_dot_type, COLS), np.uint8)
    cpu.ggml_get_type_traits_cpu(traits.vec_dot_type).contents.from_float(x.ctypes.data, quantised.ctypes.data, COLS)
    out = np.zeros(len(rows), np.float32)
    for r, row in enumerate(rows):
        traits.vec_dot(COLS, out[r:].ctypes.data, 0, row.ctypes.data, 0, quantised.ctypes.data, 0, 1)
    return out


def main():
    base, cpu = load_ggml()
    rng = np.random.default_rng(3)
    x = rng.standard_normal(COLS).astype(np.float32)
    recorded = {"cols": COLS, "x": x.tobytes().hex(), "formats": {}}
    for name, (kind, halves) in FORMATS.items():
        rows = make_rows(base, rng, kind, halves)
        recorded["formats"][name] = {
            "rows": [row.tobytes().hex() for row in rows],
            "values": [row.tobytes().hex() for row in dequantise(base, name, rows)],
            "products": [float(v) for v in products(base, cpu, kind, rows, x)],
        }
    with open(sys.argv[1], "w", encoding="ascii") as file:
        json.dump(recorded, file, indent=0)
        file.write("\n")


main()
