"""Records what llama-cpp-python generates greedily, for tests/infer/greedy_test.cc and, of a gemma3, greedy_gemma_test.cc.

usage: record_greedy.py MODEL.gguf RECORDING.json [BUILD]

Needs llama-cpp-python (PyPI). The recording is what a user gets with its default settings: the prompt read in one batch, then
token by token, without flash attention. At each step the highest logit is taken (the lowest id on a tie) and its lead over the
next one recorded; chat prompts end with the model's end token, raw ones go on for their length whatever comes.

llama.cpp does not agree with itself: activations are rounded to 8 bits in every layer, so the last bit of a float sum comes
back as some tenths of a logit, and the order of sums differs between reading one token and several at a time, with and without
flash attention, and between builds for other instruction sets. So each recorded text is computed again in other ways (WAYS),
each step after the recorded tokens before it, and where a way takes another token that one is recorded too ("also"). A step that
has none is one on which llama.cpp agrees with itself. Nothing is selected: every prompt below is recorded; of a gemma3, which
was not taught to chat, every second of the raw ones.

With BUILD, the name of another build of llama.cpp that LLAMA_CPP_LIB_PATH points to, what that build takes (its default, and
with flash attention) is added to a recording that is there.
"""
import json
import sys

import llama_cpp
import numpy as np

TIDE = (
    "The harbour clock had stopped at twenty past four on the morning the ferry did not come. Marta stood on the quay with her "
    "collar turned up and counted the gulls on the breakwater, because counting was better than waiting. Behind her the fish "
    "market was already loud: crates scraped over wet stone, a radio played an old waltz through static, and somebody argued "
    "about the price of ice. She had been told to look for a man with a red scarf and a ledger under his arm. In her pocket lay "
    "the letter, folded so often that the paper had gone soft as cloth. "
)
ENGINE = (
    "A heat pump moves heat from a cold place to a warm one. A compressor squeezes the refrigerant, which makes it hot; the hot "
    "gas gives its heat to the water of the heating circuit and condenses; an expansion valve lets the pressure fall, which makes "
    "the liquid cold; and the cold liquid takes up heat from the outside air and evaporates again. The work of the compressor is "
    "small compared with the heat that is moved, so that one unit of electricity gives three or four units of heat. "
)
LIST = "\n".join(
    f"{i}. {what}"
    for i, what in enumerate(
        ["Check the oil and the brake fluid.", "Inflate the tyres to the pressure on the door frame.", "Clean the windows and the mirrors.",
         "Pack a blanket, a torch and a bottle of water.", "Tell a friend which road you will take.", "Fill the tank before the mountains.",
         "Charge the phone and bring the cable.", "Print the address of the hotel.", "Leave early enough to arrive in daylight."], 1)
)


SERVICES = ["harbour", "market", "library", "station", "theatre", "museum", "school", "bakery"]
LOG = "".join(
    f"{h:02}:{m:02} INFO {SERVICES[(h * 3 + m // 20) % 8]}: opened door {(h * 3 + m // 20) % 8 + 1}\n"
    for h in range(6, 12) for m in (0, 20, 40))
TABLE = "".join(f"{i} x 7 = {i * 7}\n" for i in range(1, 6))
ROWS = "".join(f'{{"id": {i}, "name": "item {i}", "price": {i * 10}}},\n' for i in range(1, 9))

# Ways of one computation: name, tokens of the prompt that are read one by one before the others are together, the most that are
# read together, flash attention, and whether prompt and answer are one batch, as for a perplexity.
TOKENS = 64  # of each answer

DEFAULT = ("default", lambda prompt: 0, 512, False, False)
WAYS = [
    ("one by one", lambda prompt: prompt, 512, False, False),
    ("half one by one", lambda prompt: prompt // 2, 512, False, False),
    ("flash attention", lambda prompt: 0, 512, True, False),
    ("flash attention, one by one", lambda prompt: prompt, 512, True, False),
    ("all at once", lambda prompt: 0, 512, False, True),
]
BUILD_WAYS = [DEFAULT, WAYS[2]]


def user(text):
    return [{"role": "user", "content": text}]


CASES = [
    {"name": "chat_capital", "messages": user("What is the capital of France?")},
    {"name": "chat_rain", "messages": user("Why does it rain? Answer in three sentences.")},
    {"name": "chat_haiku", "messages": [{"role": "system", "content": "You are a poet who writes short verses."},
                                        *user("Write a haiku about a lighthouse in winter.")]},
    {"name": "chat_turns", "messages": [*user("Name a fruit that is yellow."), {"role": "assistant", "content": "A banana is yellow."},
                                        *user("And one that is red?")]},
    {"name": "chat_summary", "messages": user("Summarise this text in one sentence:\n\n" + ENGINE)},
    {"name": "chat_sources", "messages": [
        {"role": "system", "content": "Answer from the numbered posts only. After each statement write the number of the post in brackets."},
        *user("Posts:\n[1] The bridge over the Orlen was closed at 07:40 after an inspector found a crack.\n[2] Buses of line 12 turn around at the "
              "market until further notice.\n[3] The mayor says that the repair takes at least three weeks.\n\nQuestion: Why is the bridge closed, and "
              "for how long?")]},
    {"name": "chat_code", "messages": user("Write a Python function that returns the sum of the squares of a list.")},
    {"name": "chat_long", "messages": user("Here is the beginning of a story:\n\n" + TIDE * 3 + "\n\nWho is Marta waiting for, and how will she recognise him?")},
    {"name": "raw_short", "text": "The three primary colours are"},
    {"name": "raw_story", "text": TIDE},
    {"name": "raw_list", "text": "Before a long drive:\n" + LIST + "\n10."},
    {"name": "raw_engine", "text": ENGINE + "In summer the same machine"},
    {"name": "raw_numbers", "text": "2, 4, 6, 8, 10, 12,"},
    {"name": "raw_accents", "text": "Die Straße führt über den Fluss, où les cafés sont déjà ouverts, 早上好 — and then"},
    {"name": "raw_code", "text": "#include <vector>\n\nint sum(const std::vector<int>& values) {\n"},
    {"name": "raw_long", "text": TIDE + ENGINE + TIDE + ENGINE + "The letter said"},
    {"name": "raw_count", "text": "one, two, three, four, five, six,"},
    {"name": "raw_days", "text": "Monday\nTuesday\nWednesday\nThursday\nFriday\nSaturday\nSunday\nMonday\nTuesday\n"},
    {"name": "raw_letters", "text": "a b c d e f g h i j k l m n o p q r s t u v w x y z\na b c d"},
    {"name": "raw_table", "text": TABLE},
    {"name": "raw_json", "text": "[\n" + ROWS},
    {"name": "raw_log", "text": LOG},
    {"name": "raw_steps", "text": "".join(f"Step {i}: turn the wheel by {i} degrees.\n" for i in range(1, 13))},
    {"name": "raw_html", "text": "<table>\n" + "".join(f"<tr><td>{i}</td><td>{i * i}</td></tr>\n" for i in range(1, 7))},
    {"name": "raw_again", "text": (TIDE + "\n") * 4},
    {"name": "raw_engine_again", "text": (ENGINE + "\n") * 3 + "A heat pump"},
    {"name": "raw_list_again", "text": ("Before a long drive:\n" + LIST + "\n\n") * 3},
    {"name": "chat_numbers", "messages": user("Count from 1 to 30, separated by commas.")},
    {"name": "chat_alphabet", "messages": user("Write the alphabet in capital letters, one letter a line.")},
    {"name": "chat_repeat", "messages": user("Repeat this text word for word:\n\n" + TIDE)},
    {"name": "chat_copy", "messages": user("Copy these lines exactly as they are:\n" + LIST)},
    {"name": "chat_table", "messages": user("Continue this table up to 12 x 7:\n" + TABLE)},
    {"name": "chat_months", "messages": user("List the twelve months of the year as a numbered list.")},
    {"name": "chat_gravity", "messages": user("Explain gravity to a six-year-old.")},
    {"name": "chat_email", "messages": user("Write a short email asking a colleague for last month's sales figures.")},
    {"name": "chat_translate", "messages": user("Translate to Spanish: The library opens at nine in the morning.")},
    {"name": "chat_sort", "messages": user("Sort these words alphabetically: pear, apple, mango, banana, cherry.")},
    {"name": "chat_sum", "messages": user("What is 17 + 25? Answer with the number only.")},
    {"name": "chat_sys", "messages": [{"role": "system", "content": "You answer in one short sentence."}, *user("What is photosynthesis?")]},
    {"name": "chat_recipe", "messages": user("Give me a recipe for pancakes with at most five ingredients.")},
    {"name": "chat_moon", "messages": user("How far is the Moon from the Earth?")},
    {"name": "chat_tests", "messages": user("Write a unit test in Python for a function add(a, b).")},
    {"name": "chat_dialog", "messages": [*user("Hello, I am Tom."), {"role": "assistant", "content": "Hello Tom, how can I help you?"}, *user("What is my name?")]},
    {"name": "raw_ship", "text": "The ship left the harbour at dawn, and by noon"},
    {"name": "raw_law", "text": "Article 1. All human beings are born free and equal in dignity and rights.\nArticle 2."},
    {"name": "raw_sql", "text": "SELECT name, COUNT(*) FROM orders"},
    {"name": "raw_py", "text": "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n"},
    {"name": "raw_dates", "text": "2021-01-01\n2021-01-02\n2021-01-03\n2021-01-04\n"},
    {"name": "raw_planets", "text": "The planets in order from the Sun are Mercury, Venus,"},
    {"name": "raw_fr", "text": "Il était une fois, dans un petit village,"},
    {"name": "raw_md", "text": "# Installation\n\n1. Download the archive\n2."},
    {"name": "raw_quote", "text": "\"I don't know,\" she said, looking out of the window."},
    {"name": "raw_abc", "text": "A is for apple, B is for ball, C is for cat, D is for"},
]


def render(messages):
    text = ""
    if messages[0]["role"] != "system":
        text += "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    for m in messages:
        text += f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


def logits(model, row=-1):
    at = llama_cpp.llama_get_logits_ith(model.ctx, row)
    return np.ctypeslib.as_array(at, shape=(model.n_vocab(),))


def best_and_lead(row):
    two = np.partition(row, -2)[-2:]
    return int(np.argmax(row)), round(float(two[1] - two[0]), 4)


def read(model, way, tokens):
    """Logits after the last of them."""
    _, singly, together, _, _ = way
    model.reset()
    single = singly(len(tokens))
    for at in range(single):
        model.eval(tokens[at:at + 1])
    for at in range(single, len(tokens), together):
        model.eval(tokens[at:at + together])
    return logits(model)


def generate(model, prompt, count, stop_at_end):
    row = read(model, DEFAULT, prompt)
    tokens, leads = [], []
    end = {model.token_eos(), 0}
    while True:
        best, lead = best_and_lead(row)
        tokens.append(best)
        leads.append(lead)
        if len(tokens) == count or (stop_at_end and best in end):
            return tokens, leads
        model.eval([best])
        row = logits(model)


def follow(model, way, prompt, tokens):
    """What this way takes at each step, after the recorded tokens before it."""
    if way[4]:
        text = prompt + tokens[:-1]
        read(model, way, text)
        return [int(np.argmax(model.scores[i])) for i in range(len(prompt) - 1, len(text))]
    chosen = [int(np.argmax(read(model, way, prompt)))]
    for token in tokens[:-1]:
        model.eval([token])
        chosen.append(int(np.argmax(logits(model))))
    return chosen


def load(path, way):
    return llama_cpp.Llama(path, n_ctx=2048, n_threads=1, n_threads_batch=1, flash_attn=way[3], logits_all=way[4], verbose=False)


def record(path, gemma):
    model = load(path, DEFAULT)
    cases = []
    for case in [c for c in CASES if "text" in c][::2] if gemma else CASES:
        chat = "messages" in case
        text = render(case["messages"]) if chat else case["text"]
        prompt = model.tokenize(text.encode(), add_bos=gemma, special=chat)
        tokens, leads = generate(model, prompt, TOKENS, chat)
        cases.append({**case, "prompt": prompt, "tokens": tokens, "leads": leads, "also": {}})
        print("recorded", case["name"], len(prompt), len(tokens), flush=True)
    return {"recorded_with": f"llama-cpp-python {llama_cpp.__version__}, default settings but n_ctx=2048, x86-64 with AVX-512",
            "model": "Gemma 3 270M Q4_K_M" if gemma else "SmolLM2-135M-Instruct Q4_1", "ways": {}, "cases": cases}


def add(recording, path, way, name):
    model = load(path, way)
    same = 0
    for case in recording["cases"]:
        chosen = follow(model, way, case["prompt"], case["tokens"])
        same += chosen == case["tokens"]
        for step, (recorded, other) in enumerate(zip(case["tokens"], chosen)):
            also = case["also"].setdefault(str(step), []) if other != recorded else None
            if also is not None and other not in also:
                also.append(other)
    recording["ways"][name] = same  # prompts on which it takes all recorded tokens
    print(name, "the same on", same, "of", len(recording["cases"]), flush=True)


def save(recording, path):
    with open(path, "w") as f:
        f.write("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in recording.items() if k != "cases"))
        f.write(',\n "cases": [\n' + ",\n".join("  " + json.dumps(c) for c in recording["cases"]) + "\n ]\n}\n")


def main():
    path, out_path, *build = sys.argv[1:]
    gemma = llama_cpp.Llama(path, vocab_only=True, verbose=False).metadata["general.architecture"] == "gemma3"
    if build:
        with open(out_path) as f:
            recording = json.load(f)
    else:
        recording = record(path, gemma)
    for way in BUILD_WAYS if build else WAYS:
        add(recording, path, way, f"{build[0]}, {way[0]}" if build else way[0])
        save(recording, out_path)


main()
