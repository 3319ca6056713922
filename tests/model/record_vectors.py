#!/usr/bin/env python3
"""Records what llama.cpp makes of hard texts, as tests/model/testdata/smollm2_vectors.json.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install llama-cpp-python==0.3.* tokenizers
    /tmp/peers/bin/python tests/model/record_vectors.py .fathom/models/SmolLM2-135M-Instruct.Q4_1.gguf

Each case is {"text" or "hex", "plain": ids, "special": ids} with special tokens ignored and recognised; "pre" has the
ids (special tokens ignored) of the same vocabulary under other pre-tokenizers, by the value of tokenizer.ggml.pre.
Where Hugging Face's tokenizers can express the same (all but "default"), its ids must be equal, or the case is listed.
"""
import json
import os
import random
import struct
import sys
import tempfile

import llama_cpp
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

PRES = ["smollm", "default", "gpt-2", "llama-bpe", "qwen2"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def read_metadata(path):
    """Every metadata entry as (key, type, raw bytes of the value), and the strings of the arrays that we need."""
    with open(path, "rb") as file:
        data = file.read(64 << 20)
    at = 24
    count = struct.unpack_from("<Q", data, 16)[0]

    def string():
        nonlocal at
        size = struct.unpack_from("<Q", data, at)[0]
        at += 8 + size
        return data[at - size:at]

    def value(kind):
        nonlocal at
        if kind == 8:
            return string()
        if kind == 9:
            element, length = struct.unpack_from("<IQ", data, at)
            at += 12
            return [value(element) for _ in range(length)]
        form = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}[kind]
        at += struct.calcsize(form)
        return struct.unpack_from("<" + form, data, at - struct.calcsize(form))[0]

    entries, values = [], {}
    for _ in range(count):
        key = string()
        kind = struct.unpack_from("<I", data, at)[0]
        at += 4
        begin = at
        values[key.decode()] = value(kind)
        entries.append((key, kind, data[begin:at]))
    return entries, values


def write_vocabulary(entries, pre, path):
    """The metadata alone, with another pre-tokenizer."""
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries))
    for key, kind, raw in entries:
        if key == b"tokenizer.ggml.pre":
            raw = struct.pack("<Q", len(pre)) + pre.encode()
        out += struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + raw
    with open(path, "wb") as file:
        file.write(out)


def texts():
    fixed = [
        "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", " \n", "\n ", " \n \n", "\r\n", "\r\n\r\n", "a", " a",
        "a ", "  a", "a  ", " a ", "a b", "a  b", "a   b", "a\nb", "a\n\nb", "a \n b", "a\tb", "a\t\tb", "a\n b", "a\r\nb",
        "Hello", "Hello world", "Hello, world!", "hello world", "HELLO WORLD", "Hello  World", "The quick brown fox jumps.",
        "it's", "It's", "IT'S", "don't", "DON'T", "we're", "WE'RE", "I've", "I'VE", "I'm", "I'M", "you'll", "YOU'LL",
        "he'd", "HE'D", "'s", "'S", " 's", "''s", "'", "''", "'t'", "'twas", "rock 'n' roll", "o'clock", "x'y", "'re'",
        "\u2019s it\u2019s", "'\u017f", "0", "1", "12", "123", "1234", "12345", "1234567890", " 1", " 12 34", "3.14159",
        "1,234,567.89", "$5", "$1,000", "50%", "10:30", "2026-11-23", "+1 (555) 123-4567", "1e-9", "0x1F", "v1.2.3",
        "\u0661\u0662\u0663", "\u0967\u0968\u0969", "\u00bd \u00b2 \u2167 \u2460", "a1b2c3", "abc123def", "1st 2nd 3rd",
        "...", "!!!", "?!", "--", "---", "\u2014", "\u2026", "( a )", "[x]", "{y}", "<z>", "a=b", "a==b", "a<=b>=c", "a&&b||c",
        "#tag", "@user", "@user: RT #tag https://example.org/a?b=c&d=e#f", "e.g.", "U.S.A.", "C++", "C#", "~/.bashrc",
        "foo_bar", "fooBar", "foo-bar", "snake_case_name", "`code`", "a^b|c~d", "$+<=>^~|", "\\n", "\"quoted\"",
        "def f(x):\n    return x + 1\n", "if (a) {\n\tb();\n}\n", "int main(void) { return 0; }", "SELECT * FROM t WHERE a='b';",
        "<html>\n  <body>\n    <p>Hi</p>\n  </body>\n</html>", "{\"a\": [1, 2, {\"b\": null}]}", "    indented", "\tindented",
        "trailing   ", "trailing\n", "trailing\n\n", "a\n\n\n\nb", "a \n\n  \n b", "\n\n  x", " \t \n \t x", "x\u00a0y", "\u00a0",
        "\u00a0\u00a0x", " \u00a0x", "x\u2003y", "x\u2028y", "x\u3000y", "\u0085x", "\u200bx", "\ufeffx", "x\u200dy", "\u00adx",
        "\u00e9\u00e8\u00ea", "e\u0301", "na\u00efve caf\u00e9", "Stra\u00dfe", "\u0130stanbul", "\u01c5", "\ufb01x", "\u00aa\u00ba",
        "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u0442\u0435\u043a\u0441\u0442", "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac",
        "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
        "\u0627\u0644\u0633\u0651\u064e\u0644\u0627\u0645\u064f", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
        "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a", "\u4f60\u597d\uff0c\u4e16\u754c\uff01",
        "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3067\u3059\u3002", "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8", "\u4e2d\u65871\u65872",
        "\U00020000\U0002a6d6", "\U0001f600", "\U0001f600\U0001f601 \U0001f602", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
        "\U0001f1fa\U0001f1f8\U0001f1eb\U0001f1f7", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\u263a", "go \U0001f680\U0001f680\U0001f680 now!",
        "1\ufe0f\u20e3", "\U0001d54f \U0001d7d9", "\x00", "\x00\x01\x02", "a\x00b", "\x1b[31mred\x1b[0m", "\x7f", "\x08\x0b\x0c",
        "\x80\x9f", "\ue000", "\uffff", "\ufffd", "\U0010ffff", "\u0378",
        "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n", " <|im_end|> ", "<|im_end|",
        "<|im_end|><|im_end|>", "<|im_start|>system\n<|im_start|>", "<repo_name>x<file_sep>y", "<jupyter_code>1+1<jupyter_output>2",
        "<|<|im_end|>|>", "<filename><gh_stars>12", "a<empty_output>b", "<|IM_END|>", "< |im_end|>",
        "x" * 700, "ab" * 400, "\u00e9" * 200, " " * 200, "\n" * 65, "7" * 90, "-" * 150, "a " * 120, "\U0001f600" * 40, "aA1 " * 50,
        "Donaudampfschifffahrtsgesellschaftskapit\u00e4n" * 6, "\u0915\u094d\u0937" * 60, "supercalifragilisticexpialidocious",
        "RT @alice: BREAKING \u2014 M7.1 quake 30km off coast\u2026 tsunami warning issued \U0001f30a #quake https://t.co/AbC123xYz",
        "Q3 revenue: $4.2B (+13.5% y/y); EPS $1.07 vs. $0.98 est.", "GOAL!!! 2\u20131 in the 90+4' \u26bd\ufe0f", "i'd've y'all'd'nt",
    ]
    return fixed + generated(90)


def generated(count):
    """Random mixtures of the kinds of characters that rules treat differently; the same every time."""
    rng = random.Random(20261123)
    kinds = ["aeinorstzQXE", "0123456789\u0665\u00bc", " \n\t\r\u00a0\u3000", "'\"!?.,;:-_/\\|<>=+~^$#@&*()[]{}", "\u00e9\u00df\u0439\u03bb",
             "\u4f60\u65e5\u3042\ud55c", "\u0301\u094d\u200d\ufe0f", "\U0001f600\U0001f680\U0001f1fa", "\x00\x07\x1b\x7f\u0085",
             "'s't're've'm'll'd"]
    cases = []
    for _ in range(count):
        text = ""
        for _ in range(rng.randint(2, 14)):
            kind = rng.choice(kinds)
            text += "".join(rng.choice(kind) for _ in range(rng.randint(1, 5)))
        cases.append(text)
    return cases


# Ill-formed UTF-8: what reaches the vocabulary is U+FFFD for each maximal subpart (Unicode 15, 3.9), as Python decodes.
ILL_FORMED = ["ff", "80", "c3", "e282", "f09f98", "c0af", "eda080", "f4908080", "61ff62", "e28261", "f09f9880ff", "6162c3",
              "fefe", "e2e282ac", "20c320", "f0e282ac", "c3a9c3", "610080ff"]


def hugging_face(values, pre):
    ids = {text.decode(): i for i, text in enumerate(values["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.decode().split(" ", 1)) for merge in values["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(ids, merges, ignore_merges=pre == "llama-bpe"))
    split = {
        "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "llama-bpe": [pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)],
        "qwen2": [pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated"),
                  pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)],
    }[pre]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    return tokenizer


def main():
    entries, values = read_metadata(sys.argv[1])
    texts_hex = [(text, None) for text in dict.fromkeys(texts())]
    texts_hex += [(bytes.fromhex(h).decode("utf-8", "replace"), h) for h in ILL_FORMED]
    cases = [{"hex": h} if h else {"text": text} for text, h in texts_hex]
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        for pre in PRES:
            path = os.path.join(folder, pre + ".gguf")
            write_vocabulary(entries, pre, path)
            llama = llama_cpp.Llama(model_path=path, vocab_only=True, verbose=False)
            peer = None if pre == "default" else hugging_face(values, pre)
            for case, (text, _) in zip(cases, texts_hex):
                ids = llama.tokenize(text.encode(), add_bos=False, special=False) if text else []
                if peer and peer.encode(text, add_special_tokens=False).ids != ids:
                    differ += 1
                    print(f"{pre}: Hugging Face differs on {text[:60]!r}: {peer.encode(text).tokens} {ids}")
                if pre == "smollm":
                    case["plain"] = ids
                    case["special"] = llama.tokenize(text.encode(), add_bos=False, special=True) if text else []
                else:
                    case.setdefault("pre", {})[pre] = ids
    out = os.path.join(os.path.dirname(__file__), "testdata", "smollm2_vectors.json")
    with open(out, "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
    print(f"{len(cases)} cases, {differ} differences between llama.cpp and Hugging Face")


if __name__ == "__main__":
    main()
