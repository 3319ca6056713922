#!/usr/bin/env python3
"""make_cases.py: questions with the posts that a model is shown and the reply that it should learn, as NDJSON.

Four sources, mixed and shuffled by a seed (the same inputs and seed give the same bytes; standard library and the program
zstd only):

  world      `fathom eval cases` of sample worlds: real retrieval, known answers. Storylines named in held_out.txt are left
             out: they are for the evaluation. Figures and invented names are replaced by others in most cases, the same way
             in question, posts and reply, so that reading is learnt and not the world.
  reading    adversarial_qa of instruct_p3: each sentence of a passage becomes a post, the one that holds the answer is the
             reply. Passages of the development set (qa_xquad) are left out.
  posts      real posts: figures of disasters, who wrote what, what is said about a name.
  refusals   the posts that hold the answer taken away; questions of webquestions over posts about other things.

A line: {"question", "as_of", "posts": [...], "reply", "source"}. `fathom eval prompts` makes dialogues of them.
Replies are the post's own sentence with its mark, "The Hollin dam is intact [2].", or "The posts do not say."
"""
import argparse
import json
import random
import re
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

NO_ANSWER = "The posts do not say."
SHOWN = 4  # posts of a case, as kCitedPosts in src/answer/generate.h
LONGEST_REPLY = 200  # characters
LONGEST_CASE = 1100  # characters of all posts: about 350 tokens with the rest

SYLLABLES = ("bar bel bran cor dal dun el fen gar hal ither jor kel lan mar nor os per quil ros sel tar ul ver wes yar zel"
             " ten mor lin dra vik hav sol").split()
STOP = set("a an the of in on at to is are was were be been by for from with and or did does do has have had how many much "
           "what which who whom whose when where why will would can could it its this that there s".split())


def open_lines(path: Path):
    with subprocess.Popen(["zstd", "-dc", str(path)], stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        yield from (json.loads(line) for line in process.stdout)
    if process.returncode:
        raise SystemExit(f"zstd could not read {path}")


def words(text: str) -> set[str]:
    return {w for w in re.findall(r"[a-z0-9]+", text.lower()) if w not in STOP}


def holds(text: str, answer: str) -> bool:
    return re.search(r"(?<!\w)" + re.escape(answer) + r"(?![\w])", text, re.IGNORECASE) is not None


def cleaned(text: str) -> str:
    """A post as a sentence: without repost marks, addresses, hashtags behind it, pictograms and brackets."""
    text = re.sub(r"^(RT @\w+:\s*)+", "", text)
    text = re.sub(r"^(@\w+[:,]?\s+)+", "", text)
    text = re.sub(r"https?://\S*", " ", text)
    text = re.sub(r"(\s*#\w+)+\s*$", "", text.strip())
    text = re.sub(r"#(\w+)", r"\1", text)
    text = re.sub(r"[^\w\s.,:;!?'\"$%&@()/°€£+\-–’]", " ", text)
    text = re.sub(r"^(BREAKING|UPDATE|JUST IN|NEW|Live|CRASH|LATEST|Update \d\d:\d\d)\s*:\s*", "", text.strip(), flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", text).strip()


def sentences(text: str) -> list[str]:
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z0-9\"'])", text)
    return [p.strip() for p in parts if p.strip()]


def as_reply(sentence: str, number: int) -> str | None:
    sentence = sentence.strip().rstrip(".!?,;: ")
    if not 12 <= len(sentence) <= LONGEST_REPLY or len(sentence.split()) < 3 or "[" in sentence:
        return None
    return f"{sentence[0].upper()}{sentence[1:]} [{number}]."


def fits(posts: list[dict]) -> bool:
    return sum(min(len(p["text"]), 280) + 30 for p in posts) <= LONGEST_CASE


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# The sample world

def invented_name(rng: random.Random) -> str:
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 3)))).capitalize()


def always_capital(cases: list[dict]) -> set[str]:
    """Words that are written with a capital in the middle of sentences and never small: names, most of them invented."""
    capital, small = set(), set()
    for case in cases:
        for post in case["posts"]:
            small.update(re.findall(r"\b[a-z]{5,}\b", post["text"]))
            capital.update(w.lower() for w in re.findall(r"(?<=[a-z,] )[A-Z][a-z]{4,}\b", post["text"]))
    return capital - small


class Disguise:
    """Other figures and names, the same for the whole case."""

    def __init__(self, rng: random.Random, names: set[str]):
        self.rng, self.names, self.map = rng, names, {}
        self.shift = rng.randrange(5, 400, 5)

    def number(self, match: re.Match) -> str:
        text = match.group(0)
        if len(re.sub(r"\D", "", text)) < 2:
            return text
        if text not in self.map:
            digits = [self.rng.choice("123456789" if i == 0 else "0123456789") if c.isdigit() else c for i, c in enumerate(text)]
            self.map[text] = "".join(digits)
        return self.map[text]

    def clock(self, match: re.Match) -> str:
        minutes = (int(match.group(1)) * 60 + int(match.group(2)) + self.shift) % 1440
        return f"{minutes // 60:02d}:{minutes % 60:02d}"

    def name(self, match: re.Match) -> str:
        key = match.group(0).lower()
        if key not in self.names:
            return match.group(0)
        if key not in self.map:
            self.map[key] = invented_name(self.rng)
        other = self.map[key]
        return other if match.group(0)[0].isupper() else other.lower()

    def __call__(self, text: str) -> str:
        out = []
        for piece in re.split(r"(\d{1,2}:\d{2}(?!\d))", text):
            if re.fullmatch(r"\d{1,2}:\d{2}", piece):
                out.append(re.sub(r"(\d{1,2}):(\d{2})", self.clock, piece))
            else:
                piece = re.sub(r"\d+(?:,\d{3})*(?:\.\d+)?", self.number, piece)
                out.append(re.sub(r"[A-Za-z]{5,}", self.name, piece))
        return "".join(out)


def disguised(case: dict, disguise: Disguise) -> dict:
    case = json.loads(json.dumps(case))
    case["question"] = disguise(case["question"])
    case["answers"] = [disguise(a) for a in case["answers"]]
    for post in case["posts"]:
        post["text"] = disguise(post["text"])
        post["author"]["name"] = disguise(post["author"].get("name", ""))
    return case


def best_reply(case: dict) -> str | None:
    """The shown sentence that states the answer and shares most with the question; reports before chatter."""
    asked = words(case["question"])
    gold = set(case["gold_posts"])
    best = None
    for i, post in enumerate(case["posts"]):
        if gold and post["id"] not in gold or post.get("lang", "en") != "en":
            continue
        for sentence in sentences(cleaned(post["text"])):
            if not any(holds(sentence, a) for a in case["answers"]):
                continue
            reply = as_reply(sentence, i + 1)
            if reply is None:
                continue
            followers = post["author"].get("followers") or 0
            score = len(asked & words(sentence)) + (1 if followers > 5000 else 0) - 0.2 * i
            if best is None or score > best[0]:
                best = (score, reply, i)
    return best[1] if best and best[0] >= 0.5 else None


def from_world(paths: list[Path], held_out: set[str], rng: random.Random) -> list[dict]:
    cases = []
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            cases += [case for case in map(json.loads, lines) if case["storyline"] not in held_out and case["posts"]]
    names = always_capital(cases)
    out = []
    for case in cases:
        if rng.random() < 0.85:
            case = disguised(case, Disguise(rng, names if rng.random() < 0.7 else set()))
        if rng.random() < 0.35:
            rng.shuffle(case["posts"])
        states = [p["id"] in case["gold_posts"] or any(holds(p["text"], a) for a in case["answers"]) for p in case["posts"]]
        if case["answers"] and any(states) and rng.random() < 0.12:  # take the answer away
            case["posts"] = [p for p, s in zip(case["posts"], states) if not s]
            states = []
        if not case["posts"] or not fits(case["posts"]):
            continue
        if not case["answers"] or not any(states):
            reply = NO_ANSWER
        else:
            reply = best_reply(case)
        if reply:
            out.append({"question": case["question"], "as_of": case["as_of"], "posts": case["posts"], "reply": reply, "source": "world"})
    return out


# Reading tasks

def reading_task(prompt: str) -> tuple[str, str] | None:
    match = re.match(r"(?s)Extract the answer to the question from the following context\.\s*Question: (.*?)\s*Context: (.*?)\s*Answer:?\s*$", prompt)
    match = match or re.match(r"(?s)Question: \"(.*?)\"\s*Context: \"(.*?)\"\s*Answer:?\s*$", prompt)
    return (match.group(1).strip(), match.group(2).strip()) if match else None


def as_posts(texts: list[str], rng: random.Random) -> tuple[list[dict], datetime]:
    as_of = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=rng.randrange(400_000))
    posts = []
    for i, text in enumerate(texts):
        name = f"{invented_name(rng)} {invented_name(rng)}"
        when = as_of - timedelta(minutes=rng.randrange(1, 600))
        posts.append({"id": str(i), "author": {"handle": name.replace(" ", ""), "name": name}, "created_at": stamp(when), "text": text, "lang": "en"})
    return posts, as_of


def from_reading(data: Path, rng: random.Random, most: int) -> list[dict]:
    with open(data / "qa" / "qa_xquad.en.json", encoding="utf-8") as file:
        development = {p["context"][:80] for a in json.load(file)["data"] for p in a["paragraphs"]}
    out, seen = [], set()
    for row in open_lines(data / "qa" / "instruct_p3_t0_subset.jsonl.zst"):
        task = reading_task(row["prompt"]) if row["task"] == "adversarial_qa" else None
        if task is None or task in seen or task[1][:80] in development:
            continue
        seen.add(task)
        question, passage = task
        texts = [s for s in sentences(passage) if len(s) <= 280]
        at = [i for i, s in enumerate(texts) if holds(s, row["completion"])]
        if len(at) != 1 or len(texts) < 2:
            continue
        chosen = [at[0]] + rng.sample([i for i in range(len(texts)) if i != at[0]], min(SHOWN - 1, len(texts) - 1))
        rng.shuffle(chosen)
        refuse = rng.random() < 0.2
        if refuse:
            chosen.remove(at[0])
        posts, as_of = as_posts([texts[i] for i in chosen], rng)
        reply = NO_ANSWER if refuse else as_reply(texts[at[0]], chosen.index(at[0]) + 1)
        question = question[0].upper() + question[1:] + ("" if question.endswith("?") else "?")
        if reply and posts and fits(posts):
            out.append({"question": question, "as_of": stamp(as_of), "posts": posts, "reply": reply, "source": "reading"})
    rng.shuffle(out)
    return out[:most]


# Real posts

FIGURE = re.compile(r"(?<![\w.,])(\d[\d,]*)\s+(?:people\s+|persons\s+)?(dead|killed|injured|missing|wounded|homes|houses|evacuated|arrested|hurt)\b", re.IGNORECASE)
ASKED = {"dead": "How many people died in", "killed": "How many people were killed in", "injured": "How many people were injured in", "hurt": "How many people were hurt in",
         "wounded": "How many people were wounded in", "missing": "How many people are missing after", "homes": "How many homes were hit by",
         "houses": "How many houses were hit by", "evacuated": "How many people were evacuated because of", "arrested": "How many people were arrested after"}


def real_post(row: dict) -> dict:
    name = row.get("author_name") or row.get("author") or "unknown"
    return {"id": str(row["id"]), "author": {"handle": row.get("author", "unknown"), "name": name}, "created_at": row["created_at"],
            "text": row["text"], "lang": row.get("lang", "en")}


def as_case(question: str, right: dict, others: list[dict], rng: random.Random, source: str, refuse: bool) -> dict | None:
    posts = others[:SHOWN - 1] + ([] if refuse else [right])
    rng.shuffle(posts)
    if not posts or not fits(posts):
        return None
    sentence = cleaned(right["text"])
    reply = NO_ANSWER if refuse else as_reply(sentence, posts.index(right) + 1)
    if reply is None:
        return None
    as_of = max(p["created_at"] for p in posts)
    return {"question": question, "as_of": as_of, "posts": posts, "reply": reply, "source": source}


def plain_english(row: dict) -> bool:
    return row.get("lang", "en") == "en" and row["text"].isascii() and not row["text"].startswith("RT ") and 30 <= len(row["text"]) <= 220


def from_disasters(data: Path, rng: random.Random, most: int) -> list[dict]:
    events: dict[str, list[dict]] = {}
    for row in open_lines(data / "posts" / "posts_crisislex.jsonl.zst"):
        if plain_english(row) and row["label"].lower().startswith("related"):
            events.setdefault(row["event"], []).append(row)
    out = []
    for event, rows in sorted(events.items()):
        name = re.sub(r"^\d+_", "", event).replace("_", " ")
        name = " ".join(w if i == 0 or w[0].isupper() and w.lower() not in ("floods", "fire", "fires", "earthquake", "crash", "bombings", "explosion", "tornado", "haze", "collapse", "train", "building", "typhoon", "wildfire") else w.lower() for i, w in enumerate(name.split()))
        figures = [r for r in rows if len(FIGURE.findall(r["text"])) == 1]
        for row in rng.sample(figures, min(16, len(figures))):
            match = FIGURE.search(row["text"])
            kind = match.group(2).lower()
            question = f"{ASKED[kind]} the {name}?"
            others = [real_post(r) for r in rng.sample(rows, min(12, len(rows))) if not FIGURE.search(r["text"]) and r["id"] != row["id"]]
            case = as_case(question, real_post(row), others, rng, "disasters", rng.random() < 0.15)
            if case:
                out.append(case)
    rng.shuffle(out)
    return out[:most]


def from_authors(data: Path, rng: random.Random, most: int) -> list[dict]:
    by_ticker: dict[str, list[dict]] = {}
    for row in open_lines(data / "posts" / "posts_stocknet.jsonl.zst"):
        if plain_english(row) and row.get("tags") and len(re.findall(r"[A-Za-z]{2,}", cleaned(row["text"]))) >= 6 and re.match(r"^[A-Za-z][\w .'-]{3,30}$", row.get("author_name", "")):
            by_ticker.setdefault(row["tags"][0], []).append(row)
    out = []
    for ticker, rows in sorted(by_ticker.items()):
        for row in rng.sample(rows, min(8, len(rows))):
            others = [real_post(r) for r in rng.sample(rows, min(12, len(rows))) if r["author"] != row["author"]]
            verb = rng.choice(("write about", "post about", "say about"))
            case = as_case(f"What did {row['author_name']} {verb} ${ticker}?", real_post(row), others, rng, "authors", rng.random() < 0.15)
            if case:
                out.append(case)
    rng.shuffle(out)
    return out[:most]


def from_headlines(data: Path, rng: random.Random, most: int) -> list[dict]:
    rows = [r for r in open_lines(data / "posts" / "posts_hackernews.jsonl.zst") if r["text"].isascii() and 30 <= len(r["text"]) <= 120]
    by_name: dict[str, list[dict]] = {}
    for row in rows:
        for name in set(re.findall(r"(?<![.:!?] )(?<!^)\b[A-Z][a-z]{3,}[A-Za-z]*\b", row["text"])):
            by_name.setdefault(name, []).append(row)
    names = sorted(n for n, r in by_name.items() if 1 <= len(r) <= 12)
    rng.shuffle(names)
    out = []
    for name in names:
        row = rng.choice(by_name[name])
        near = [r for w in re.findall(r"[A-Z][a-z]{3,}", row["text"]) for r in by_name.get(w, [])[:20] if name not in r["text"]]
        others = [real_post(r) for r in rng.sample(near, min(2, len(near))) + rng.sample(rows, 8) if name.lower() not in r["text"].lower()]
        ask = rng.choice(("What is new about {}?", "What is the news on {}?", "What happened with {}?", "What do the posts say about {}?", "What is the latest on {}?"))
        case = as_case(ask.format(name), real_post(row), others, rng, "headlines", rng.random() < 0.2)
        if case:
            out.append(case)
        if len(out) == most:
            break
    return out


def from_webquestions(data: Path, others: list[dict], rng: random.Random, most: int) -> list[dict]:
    rows = [r for r in open_lines(data / "qa" / "qa_webquestions.jsonl.zst")]
    out = []
    for row in rng.sample(rows, most):
        case = rng.choice(others)
        if any(holds(p["text"], a) for p in case["posts"] for a in row["answers"]):
            continue
        question = row["qText"][0].upper() + row["qText"][1:]
        out.append({"question": question, "as_of": case["as_of"], "posts": case["posts"], "reply": NO_ANSWER, "source": "webquestions"})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", nargs="+", type=Path, help="cases of sample worlds")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data (qa/, posts/)")
    parser.add_argument("--held-out", type=Path, required=True, help="storylines that are not trained on, one a line")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    cases = from_world(options.world, set(options.held_out.read_text().split()), rng)
    cases += from_reading(options.data, rng, 500)
    cases += from_disasters(options.data, rng, 220)
    cases += from_authors(options.data, rng, 150)
    cases += from_headlines(options.data, rng, 200)
    cases += from_webquestions(options.data, cases, rng, 120)
    rng.shuffle(cases)
    with open(options.out, "w", encoding="utf-8") as file:
        for case in cases:
            file.write(json.dumps(case, ensure_ascii=False) + "\n")
    count: dict[str, list[int]] = {}
    for case in cases:
        pair = count.setdefault(case["source"], [0, 0])
        pair[0] += 1
        pair[1] += case["reply"] == NO_ANSWER
    print(", ".join(f"{source} {n} ({r} refusals)" for source, (n, r) in sorted(count.items())))


if __name__ == "__main__":
    main()
