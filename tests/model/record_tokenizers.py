#!/usr/bin/env python3
"""Records what the reference tokenizers make of hard texts, under tests/model/testdata.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install llama-cpp-python==0.3.* tokenizers sentencepiece protobuf numpy
    /tmp/peers/bin/python tests/model/record_tokenizers.py MINILM_FOLDER GEMMA_GGUF

hard_texts.json: the texts, as hex of their bytes; the vectors of all but the words stand in the same order, null where a
reference cannot take the text.
words_vectors.json: where each word ends, in characters, by Hugging Face's pre-tokenizers.
sentencepiece/*.model with *_vectors.json: small models trained here, and what the sentencepiece library makes of the texts.
tokenizer_json/*.json with *_vectors.json: small tokenizer.json files made here, and Hugging Face's ids.
minilm_vectors.json, gemma_vectors.json: the real models, by Hugging Face's tokenizers and by llama.cpp.
"""
import json
import os
import random
import sys
import tempfile
import zlib

import llama_cpp
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from record_vectors import ILL_FORMED, LLAMA3, texts

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "testdata")
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SMALL = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
BIG = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
            r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPLITS = {
    "llama-bpe": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "tekken": [SMALL + "|" + BIG + r"|\p{N}" + REST],
    "gpt-4o": [SMALL + CONTRACTION + "|" + BIG + CONTRACTION + r"|\p{N}{1,3}" + REST],
    "deepseek-v3": [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK],
}


def splitter(pre):
    """The pre-tokenizer that a tokenizer.json of this kind has."""
    if pre == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(e), "isolated") for e in SPLITS[pre]] +
                                   [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def hard_texts():
    more = ["HelloWorld fooBAR BazQux ABCdef iPhone McDonald's DON'T we'LL", "\u01c5\u01c8\u01cb \u02b0\u02b1x\u02b2 \u4eba\u3042A",
            "e\u0301A\u0300bC \u0301\u0302x \u0301X A\u0301", "a/b//c /\n/ ./x !!/\r\n ", "#x @y .net ?Q !\u00e9 _z-A", "\u30fb\u30fc\u3042\u309b\u4e00\u9fa5\u9fa6",
            "12\u4e2d34\u30a245", "\u2160\u2161\u00b2\u00b3 \u0663\u0664\u0665\u0666 1\u06601", "x\u200d'S y\u00b4s \u2019LL 'lL 'vE", "\ufeff\u2060 \u180e a\u1680b",
            "\u01c5a \u01c5A a\u01c5 \u1f88\u1f80", "\u00a9A\u00aeb $A \u20acb +c", "  \u00a0A\t\tb\r \r\nC"]
    more += ["a<sep>b", "  <sep> xyz", "xyzz", "x \u200d ", "\u200d", "a\n\n\nb   c", "<start_of_turn>user\n", "\t\t\tx"]
    more += ["\n" * n for n in (5, 31, 32, 70)] + [" " * n for n in (16, 31, 40)]
    return list(dict.fromkeys(texts() + more))


def hard_bytes():
    return [text.encode() for text in hard_texts()] + [bytes.fromhex(h) for h in ILL_FORMED]


def record_hugging_face(name, tokenizer, special):
    """`special`: texts with these tokens are left out, since what a user writes is never one of them here."""
    cases = [None if any(token in text for token in special) else tokenizer.encode(text, add_special_tokens=False).ids
             for text in hard_texts()]
    write(name, cases + [None] * len(ILL_FORMED))


def write(name, value):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        if isinstance(value, list):
            file.write("[\n" + ",\n".join(json.dumps(v, separators=(",", ":")) for v in value) + "\n]\n")
        else:
            file.write(json.dumps(value, separators=(",", ":")) + "\n")
    print(f"{name}: {len(value)} cases")


def record_words():
    pres = ["gpt-2", "smollm", *SPLITS]
    cases = []
    for text in hard_texts():
        ends = {pre: [end for _, (_, end) in splitter(pre).pre_tokenize_str(text)] for pre in pres}
        usual = ends.pop("llama-bpe")
        cases.append({"text": text, "llama-bpe": usual, **{pre: e for pre, e in ends.items() if e != usual}})
    write("words_vectors.json", cases)


def corpus():
    rng = random.Random(5)
    words = "the quick brown fox jumps over a lazy dog while seven wizards brew magic potions under full moons".split()
    parts = ["ka", "ri", "to", "men", "sel", "or", "an", "ti", "qu", "est", "lo", "v", "b", "str", "ing"]
    words += ["".join(rng.choice(parts) for _ in range(rng.randint(1, 5))) for _ in range(1200)]
    extra = ["\u4f60\u597d\u4e16\u754c", "caf\u00e9 na\u00efve", "\u0440\u0443\u0441\u0441\u043a\u0438\u0439", "\u0645\u0631\u062d\u0628\u0627", "\U0001f600",
             "12 345 67.89", "def f(x): return x", "don't it's we're", "Hello World"]
    return [" ".join(rng.choice(words) + rng.choice(["", "s", "ed", ",", "."]) for _ in range(12)) + " " + rng.choice(extra)
            for _ in range(2500)]


# Rules of a character map: some of several characters, one of which begins another, one that gives spaces, one nothing.
RULES = [(space, " ") for space in "\t\n\r\x0b\x0c\x85\u00a0\u1680\u2003\u2028"] + [
         ("\u200d", ""), ("\uff21", "A"), ("\ufb01", "fi"), ("e\u0301", "\u00e9"), ("\u00bd", "1/2"),
         ("A", "a"), ("AB", "x y"), ("\u3000", "  "), ("\U0001f44d\U0001f3fd", "\U0001f44d")]


def write_rules(path, rules):
    with open(path, "w", encoding="ascii") as file:
        for source, target in rules:
            file.write(" ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target) + "\n")


def charsmap():
    """RULES as SentencePiece compiles them, without those that Hugging Face applies in another way."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rules")
        other = ("A", "AB", "\u3000", "\U0001f44d\U0001f3fd")
        write_rules(path, [rule for rule in RULES if rule[0] not in other] + [("\u3000", " ")])
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_prefix=path, minloglevel=2,
                                                 vocab_size=300, normalization_rule_tsv=path)
        model = sentencepiece_model_pb2.ModelProto()
        with open(path + ".model", "rb") as file:
            model.ParseFromString(file.read())
        return model.normalizer_spec.precompiled_charsmap


def without_paths(path):
    """Takes out of a model file where it was made."""
    model = sentencepiece_model_pb2.ModelProto()
    with open(path, "rb") as file:
        model.ParseFromString(file.read())
    model.trainer_spec.ClearField("model_prefix")
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    with open(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))


def record_sentencepiece():
    folder = os.path.join(HERE, "sentencepiece")
    os.makedirs(folder, exist_ok=True)
    rules = os.path.join(folder, "rules.tsv")
    write_rules(rules, RULES)
    identity = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    for name, options in {
        "unigram_rules": {"model_type": "unigram", "normalization_rule_tsv": rules, "user_defined_symbols": ["<sep>", "xyz"]},
        "unigram_bytes": {"model_type": "unigram", "byte_fallback": True, "vocab_size": 500, **identity},
        "unigram_bare": {"model_type": "unigram", "add_dummy_prefix": False, **identity},
        "bpe_rules": {"model_type": "bpe", "normalization_rule_tsv": rules, "user_defined_symbols": ["<sep>"]},
        "bpe_bytes": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 500, "allow_whitespace_only_pieces": True, **identity},
    }.items():
        path = os.path.join(folder, name)
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_prefix=path, minloglevel=2,
                                                 **{"vocab_size": 300, **options})
        os.remove(path + ".vocab")
        without_paths(path + ".model")
        processor = sentencepiece.SentencePieceProcessor(model_file=path + ".model")
        write(f"sentencepiece/{name}_vectors.json", [processor.encode(text) for text in hard_bytes()])
    os.remove(rules)


def byte_level(pre, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = splitter(pre)
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=420, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|end|>"]))
    return tokenizer


def spaced(prepend):
    """As Gemma and Llama 2: SentencePiece BPE with byte tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    replace = normalizers.Replace(" ", "\u2581")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), replace]) if prepend else replace
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    split = pre_tokenizers.Split(Regex("(?=\u2581)"), "isolated")
    tokenizer.pre_tokenizer = split
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=560, show_progress=False, special_tokens=special))
    tokenizer.pre_tokenizer = None
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(content))


def unigram(split_words):
    tokenizer = Tokenizer(models.Unigram())
    space = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space]) if split_words else space
    if not split_words:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap()), normalizers.Strip(left=False, right=True),
                                                     normalizers.Replace(Regex(" {2,}"), "\u2581")])
    tokenizer.train_from_iterator(corpus(), trainers.UnigramTrainer(vocab_size=300, show_progress=False,
                                  special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>"))
    tokenizer.add_tokens([AddedToken("<mark>", special=False, normalized=False)])
    return tokenizer


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=320, show_progress=False,
                                  special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"]))
    return tokenizer


def record_tokenizer_json():
    nfc = byte_level("qwen2")
    nfc.normalizer = normalizers.NFC()
    made = {"byte_smollm": byte_level("smollm"), "byte_llama3": byte_level("llama-bpe", ignore_merges=True), "byte_nfc": nfc,
            "byte_deepseek": byte_level("deepseek-v3"), "spaced": spaced(False), "spaced_prefix": spaced(True),
            "unigram_words": unigram(True), "unigram_collapse": unigram(False), "word_piece": word_piece()}
    for name, tokenizer in made.items():
        content = json.loads(tokenizer.to_str())
        if name == "byte_smollm":  # files of older versions
            content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
        write(f"tokenizer_json/{name}.json", content)
        special = [token["content"] for token in content["added_tokens"] if token["special"]]
        record_hugging_face(f"tokenizer_json/{name}_vectors.json", tokenizer, special)


def record_minilm(folder):
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
        content = json.load(file)
    content.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
    tokenizer = Tokenizer.from_str(json.dumps(content))
    record_hugging_face("minilm_vectors.json", tokenizer, [])
    # Every code point between letters, in runs of 256: a checksum of the ids as text.
    sums = []
    for begin in range(0, 0x20000, 256):
        text = "".join(f"ab{chr(c)}cd " for c in range(begin, begin + 256) if not 0xD800 <= c < 0xE000)
        sums.append(zlib.crc32(",".join(map(str, tokenizer.encode(text, add_special_tokens=False).ids)).encode()))
    write("minilm_code_points.json", {"crc32": sums})


def record_gemma(path):
    llama = llama_cpp.Llama(model_path=path, vocab_only=True, verbose=False)
    write("gemma_vectors.json", [llama.tokenize(t.encode(), add_bos=False, special=False) if t else [] for t in hard_texts()] +
          [None] * len(ILL_FORMED))


def main():
    write("hard_texts.json", [text.hex() for text in hard_bytes()])
    record_words()
    record_sentencepiece()
    record_tokenizer_json()
    record_minilm(sys.argv[1])
    record_gemma(sys.argv[2])


if __name__ == "__main__":
    main()
