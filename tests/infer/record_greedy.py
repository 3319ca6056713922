"""Records what llama-cpp-python generates greedily, for tests/infer/greedy_test.cc and, of a gemma3, greedy_gemma_test.cc.

usage: record_greedy.py MODEL.gguf OUTPUT.json

Needs llama-cpp-python (PyPI). At each step the highest logit is taken (the lowest id on a tie) and its lead over the next one
recorded; chat prompts end with the model's end token, raw ones go on for their length whatever comes.

llama.cpp does not agree with itself: activations are rounded to 8 bits in every layer, so the last bit of a float sum, whose
order changes with the batch size and with flash attention, comes back as some tenths of a logit. Each prompt is therefore
generated in several ways (WAYS); the first is the recording, "stable" counts the leading tokens on which all ways agree, and
"noise" is the most that a lead differs between ways up to there. Nothing is selected: every prompt below is recorded; of a
gemma3, which was not taught to chat, every second of the raw ones, 64 tokens of each.
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

# The ways of one computation: name, prompt tokens evaluated at a time, flash attention.
WAYS = [("batch 512", 512, False), ("batch 5", 5, False), ("flash attention", 512, True)]


def user(text):
    return [{"role": "user", "content": text}]


CASES = [
    {"name": "chat_capital", "messages": user("What is the capital of France?"), "n": 64},
    {"name": "chat_rain", "messages": user("Why does it rain? Answer in three sentences."), "n": 128},
    {"name": "chat_haiku", "messages": [{"role": "system", "content": "You are a poet who writes short verses."},
                                        *user("Write a haiku about a lighthouse in winter.")], "n": 96},
    {"name": "chat_turns", "messages": [*user("Name a fruit that is yellow."), {"role": "assistant", "content": "A banana is yellow."},
                                        *user("And one that is red?")], "n": 64},
    {"name": "chat_summary", "messages": user("Summarise this text in one sentence:\n\n" + ENGINE), "n": 128},
    {"name": "chat_sources", "messages": [
        {"role": "system", "content": "Answer from the numbered posts only. After each statement write the number of the post in brackets."},
        *user("Posts:\n[1] The bridge over the Orlen was closed at 07:40 after an inspector found a crack.\n[2] Buses of line 12 turn around at the "
              "market until further notice.\n[3] The mayor says that the repair takes at least three weeks.\n\nQuestion: Why is the bridge closed, and "
              "for how long?")], "n": 128},
    {"name": "chat_code", "messages": user("Write a Python function that returns the sum of the squares of a list."), "n": 128},
    {"name": "chat_long", "messages": user("Here is the beginning of a story:\n\n" + TIDE * 3 + "\n\nWho is Marta waiting for, and how will she recognise him?"), "n": 96},
    {"name": "raw_short", "text": "The three primary colours are", "n": 64},
    {"name": "raw_story", "text": TIDE, "n": 128},
    {"name": "raw_list", "text": "Before a long drive:\n" + LIST + "\n10.", "n": 96},
    {"name": "raw_engine", "text": ENGINE + "In summer the same machine", "n": 128},
    {"name": "raw_numbers", "text": "2, 4, 6, 8, 10, 12,", "n": 64},
    {"name": "raw_accents", "text": "Die Straße führt über den Fluss, où les cafés sont déjà ouverts, 早上好 — and then", "n": 64},
    {"name": "raw_code", "text": "#include <vector>\n\nint sum(const std::vector<int>& values) {\n", "n": 96},
    {"name": "raw_long", "text": TIDE + ENGINE + TIDE + ENGINE + "The letter said", "n": 96},
    {"name": "raw_count", "text": "one, two, three, four, five, six,", "n": 64},
    {"name": "raw_days", "text": "Monday\nTuesday\nWednesday\nThursday\nFriday\nSaturday\nSunday\nMonday\nTuesday\n", "n": 64},
    {"name": "raw_letters", "text": "a b c d e f g h i j k l m n o p q r s t u v w x y z\na b c d", "n": 64},
    {"name": "raw_table", "text": TABLE, "n": 128},
    {"name": "raw_json", "text": "[\n" + ROWS, "n": 128},
    {"name": "raw_log", "text": LOG, "n": 96},
    {"name": "raw_steps", "text": "".join(f"Step {i}: turn the wheel by {i} degrees.\n" for i in range(1, 13)), "n": 128},
    {"name": "raw_html", "text": "<table>\n" + "".join(f"<tr><td>{i}</td><td>{i * i}</td></tr>\n" for i in range(1, 7)), "n": 128},
    {"name": "raw_again", "text": (TIDE + "\n") * 4, "n": 128},
    {"name": "raw_engine_again", "text": (ENGINE + "\n") * 3 + "A heat pump", "n": 96},
    {"name": "raw_list_again", "text": ("Before a long drive:\n" + LIST + "\n\n") * 3, "n": 128},
    {"name": "chat_numbers", "messages": user("Count from 1 to 30, separated by commas."), "n": 96},
    {"name": "chat_alphabet", "messages": user("Write the alphabet in capital letters, one letter a line."), "n": 96},
    {"name": "chat_repeat", "messages": user("Repeat this text word for word:\n\n" + TIDE), "n": 128},
    {"name": "chat_copy", "messages": user("Copy these lines exactly as they are:\n" + LIST), "n": 128},
    {"name": "chat_table", "messages": user("Continue this table up to 12 x 7:\n" + TABLE), "n": 96},
    {"name": "chat_months", "messages": user("List the twelve months of the year as a numbered list."), "n": 96},
]


def render(messages):
    text = ""
    if messages[0]["role"] != "system":
        text += "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    for m in messages:
        text += f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


def generate(model, prompt, count, stop_at_end, step):
    model.reset()
    for at in range(0, len(prompt), step):
        model.eval(prompt[at:at + step])
    tokens, leads = [], []
    end = {model.token_eos(), 0}
    while len(tokens) < count:
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(model.ctx, -1), shape=(model.n_vocab(),))
        best = int(np.argmax(logits))
        two = np.partition(logits, -2)[-2:]
        tokens.append(best)
        leads.append(round(float(two[1] - two[0]), 5))
        if stop_at_end and best in end:
            break
        model.eval([best])
    return tokens, leads


def agreed(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def main():
    model_path, out_path = sys.argv[1:]
    cases = []
    gemma = llama_cpp.Llama(model_path, vocab_only=True, verbose=False).metadata["general.architecture"] == "gemma3"
    chosen = [{**c, "n": 64} for c in CASES if "text" in c][::2] if gemma else CASES
    for way, step, flash in WAYS:
        model = llama_cpp.Llama(model_path, n_ctx=2048, n_threads=1, n_threads_batch=1, flash_attn=flash, verbose=False)
        for i, case in enumerate(chosen):
            print(way, case["name"], flush=True)
            chat = "messages" in case
            text = render(case["messages"]) if chat else case["text"]
            prompt = model.tokenize(text.encode(), add_bos=gemma, special=chat)
            tokens, leads = generate(model, prompt, case["n"], chat, step)
            if way == WAYS[0][0]:
                cases.append({**case, "prompt": prompt, "tokens": tokens, "leads": leads, "stable": len(tokens), "noise": 0.0})
                continue
            first = cases[i]
            same = agreed(first["tokens"], tokens)
            first["stable"] = min(first["stable"], same)
            first["noise"] = max([first["noise"], *(round(abs(a - b), 5) for a, b in zip(first["leads"][:same], leads[:same]))])
    for c in cases:
        print(c["name"], "prompt", len(c["prompt"]), "tokens", len(c["tokens"]), "stable", c["stable"], "noise", c["noise"])
    recording = {"recorded_with": f"llama-cpp-python {llama_cpp.__version__}, flash_attn=False, n_ctx=2048, x86-64 with AVX-512",
                 "model": "Gemma 3 270M Q4_K_M" if gemma else "SmolLM2-135M-Instruct Q4_1", "ways": [w[0] for w in WAYS], "cases": cases}
    with open(out_path, "w") as f:
        f.write("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in recording.items() if k != "cases"))
        f.write(',\n "cases": [\n' + ",\n".join("  " + json.dumps(c) for c in cases) + "\n ]\n}\n")


main()
