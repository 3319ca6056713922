#!/usr/bin/env python3
"""Records SentencePiece encodings as tests/model/testdata/{stories,grok}_vectors.json.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install llama-cpp-python==0.3.* tokenizers sentencepiece
    /tmp/peers/bin/python tests/model/record_sentence_piece.py ../shared/data/weights

stories: the 512 tokens of tok512.bin, encoded by llama.cpp; grok: grok-1-tokenizer.model, encoded by sentencepiece.
Each case is {"text", "ids"}, with the space prefix and without a beginning-of-text token.
"""
import json
import os
import struct
import sys
import tempfile

import llama_cpp
import sentencepiece

from record_vectors import texts


def string(text):
    return struct.pack("<Q", len(text)) + text


def stories_vocabulary(path):
    """tok512.bin as a GGUF file that holds nothing but the vocabulary."""
    with open(path, "rb") as file:
        data = file.read()
    at, pieces = 4, []
    while at < len(data):
        score, size = struct.unpack_from("<fi", data, at)
        pieces.append((data[at + 8:at + 8 + size], score))
        at += 8 + size
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(pieces) - 259)
    names = [b"<unk>", b"<s>", b"</s>"] + [p.replace(b" ", "\u2581".encode()) for p, _ in pieces[3:]]
    entries = [
        (b"general.architecture", 8, string(b"llama")),
        (b"tokenizer.ggml.model", 8, string(b"llama")),
        (b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, len(names)) + b"".join(map(string, names))),
        (b"tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, len(names)) + b"".join(struct.pack("<f", s) for _, s in pieces)),
        (b"tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, len(names)) + b"".join(struct.pack("<i", k) for k in kinds)),
    ]
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries))
    return out + b"".join(string(key) + struct.pack("<I", kind) + raw for key, kind, raw in entries)


def write(name, cases):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "testdata", name)
    with open(path, "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
    print(f"{name}: {len(cases)} cases")


def main():
    weights = sys.argv[1]
    chosen = [text for text in dict.fromkeys(texts()) if "<|" not in text]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "stories.gguf")
        with open(path, "wb") as file:
            file.write(stories_vocabulary(os.path.join(weights, "tok512.bin")))
        llama = llama_cpp.Llama(model_path=path, vocab_only=True, verbose=False)
        write("stories_vectors.json",
              [{"text": t, "ids": llama.tokenize(t.encode(), add_bos=False, special=False) if t else []} for t in chosen])
    grok = sentencepiece.SentencePieceProcessor(model_file=os.path.join(weights, "grok-1-tokenizer.model"))
    # sentencepiece ends a text at its first NUL when called from Python with str; bytes keep it.
    write("grok_vectors.json", [{"text": t, "ids": grok.encode(t.encode())} for t in chosen + ["a <|separator|> b", "<|mask|>x"]])


if __name__ == "__main__":
    main()
