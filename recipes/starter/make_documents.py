#!/usr/bin/env python3
"""make_documents.py RAW OUT: the raw data sets of folder RAW as documents for `fathom data prepare`, into folder OUT.

Dialogues and questions with their answers become {"messages": [...]}, prose and posts {"text": ...}, one a line. Only sets
whose terms allow trained weights to be shipped are read (README.md here lists them). The same input gives the same files.
Needs the program zstd.
"""
import datetime
import html
import json
import pathlib
import re
import subprocess
import sys

NOVEL_CHARACTERS = 400_000  # of each novel, so that no author's voice outweighs the others
PASSAGE_CHARACTERS = 3_500  # of a document of prose: about 850 tokens
LONGEST_PROMPT = 3_200
POSTS_OF_A_DOCUMENT = 8
SYSTEM = "You are Fathom, a helpful assistant."


def read(path):
    with subprocess.Popen(["zstd", "-dc", str(path)], stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode != 0:
        sys.exit(f"zstd could not read {path}")


def tidy(text):
    """One space between words of a line, no space at its ends, quotation marks and dashes of ASCII."""
    text = html.unescape(text).translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2026: "...", 0xA0: " "})
    text = re.sub(r"[ \t]+", " ", text.replace("\r", ""))
    return re.sub(r" ?\n ?", "\n", text).strip()


def sentence(text, end):
    text = tidy(text)
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else text + end


def chat(*turns):
    """Turns from the user's first on; they alternate."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": tidy(turn)} for i, turn in enumerate(turns)]}


def with_system(document, number):
    """One dialogue in eight begins with a system message, so that the model has seen what one is."""
    if number % 8 == 0:
        document["messages"].insert(0, {"role": "system", "content": SYSTEM})
    return document


def alternating(turns):
    """The turns with neighbours of one speaker joined."""
    joined = []
    for speaker, text in turns:
        if joined and joined[-1][0] == speaker:
            joined[-1][1] += " " + text
        else:
            joined.append([speaker, text])
    return [text for _, text in joined]


def schema_dialogues(raw):
    for row in read(raw / "dialogue/dialogue_sgd.jsonl.zst"):
        yield chat(*alternating((turn["role"], turn["text"]) for turn in row["turns"]))


def topical_dialogues(raw):
    for row in read(raw / "dialogue/dialogue_topicalchat.jsonl.zst"):
        yield chat(*alternating((turn["role"], turn["text"]) for turn in row["turns"]))


def reading_tasks(raw):
    for row in read(raw / "qa/instruct_p3_t0_subset.jsonl.zst"):
        prompt, answer = tidy(row["prompt"]), tidy(row["completion"])
        if answer and len(prompt) <= LONGEST_PROMPT:
            yield chat(prompt, answer[:1].upper() + answer[1:])


def word_problems(raw):
    for row in read(raw / "qa/qa_gsm8k_train.jsonl.zst"):
        answer = re.sub(r"<<[^>]*>>", "", row["answer"])
        steps, _, result = answer.partition("####")
        yield chat(row["question"], f"{steps.strip()}\nThe answer is {result.strip()}.")


def short_questions(raw):
    for row in read(raw / "qa/qa_webquestions.jsonl.zst"):
        answers = row["answers"][:5]
        listed = answers[0] if len(answers) == 1 else ", ".join(answers[:-1]) + " and " + answers[-1]
        yield chat(sentence(row["qText"], "?"), sentence(listed, "."))


def instructions(raw):
    for row in read(raw / "qa/instruct_selfinstruct_seed_tasks.jsonl.zst"):
        for instance in row["instances"]:
            if len(instance["output"]) <= LONGEST_PROMPT:
                yield chat(row["instruction"] + "\n\n" + instance["input"], instance["output"])


FACTBOOK_QUESTIONS = {
    "Introduction / Background": "Tell me about {}.",
    "Geography / Location": "Where is {}?",
    "Geography / Climate": "What is the climate of {} like?",
    "Geography / Terrain": "Describe the terrain of {}.",
    "Geography / Natural resources": "Which natural resources does {} have?",
    "Geography / Elevation / highest point": "What is the highest point of {}?",
    "Government / Capital / name": "What is the capital of {}?",
    "Government / Government type": "What type of government does {} have?",
    "Government / Country name / etymology": "Where does the name of {} come from?",
    "Government / Flag": "What does the flag of {} look like?",
    "People and Society / Population / total": "How many people live in {}?",
    "People and Society / Languages / Languages": "Which languages are spoken in {}?",
    "People and Society / Religions": "Which religions are there in {}?",
    "Economy / Economic overview": "How is the economy of {}?",
    "Economy / Industries": "Which industries does {} have?",
    "Economy / Exports - commodities": "What does {} export?",
    "Economy / Imports - partners": "From where does {} import?",
}


def factbook(raw):
    for row in read(raw / "text/text_factbook.jsonl.zst"):
        name, sections = tidy(row["name"]), {}
        for field in row["fields"]:
            text = tidy(re.sub(r"<[^>]*>", " ", field["text"]))
            if not text or len(text) > LONGEST_PROMPT:
                continue
            question = FACTBOOK_QUESTIONS.get(field["field"])
            if question:
                yield chat(question.format(name), sentence(text, "."))
            section, _, rest = field["field"].partition(" / ")
            sections.setdefault(section, []).append(f"{rest}: {text}")
        for section, lines in sections.items():
            for passage in passages([f"{name}: {section}"] + lines, "\n"):
                yield {"text": passage}


def passages(paragraphs, separator):
    """Neighbouring paragraphs joined up to the length of a passage."""
    passage, size = [], 0
    for paragraph in paragraphs:
        if passage and size + len(paragraph) > PASSAGE_CHARACTERS:
            yield separator.join(passage)
            passage, size = [], 0
        passage.append(paragraph)
        size += len(paragraph)
    if passage:
        yield separator.join(passage)


def novels(raw):
    for row in read(raw / "text/text_novels.jsonl.zst"):
        text = tidy(row["text"][:NOVEL_CHARACTERS]).replace("_", "")
        paragraphs = [p.replace("\n", " ") for p in re.split(r"\n\n+", text) if p]
        for passage in passages(paragraphs, "\n\n"):
            yield {"text": passage}


ENGLISH = re.compile(r"\b(the|is|are|to|of|and|in|for|you|this|that|we|our|on|with)\b", re.IGNORECASE)


def clean_post(text):
    """A post without addresses; empty where little else is left, or where it is not English or a repost."""
    text = re.sub(r"https?:?/*\S*", "", tidy(text).replace("\n", " "))
    text = re.sub(r" +", " ", text).strip(" -:|")
    words = text.split()
    marked = sum(word[0] in "#@$" for word in words)
    is_english = text.isascii() and ENGLISH.search(text)
    is_good = len(words) >= 6 and marked * 3 <= len(words) and is_english and not text.startswith("RT ")
    return text if is_good else ""


def day(created_at):
    date = datetime.date.fromisoformat(created_at[:10])
    return f"{date.day} {date:%B %Y}"


def numbered(title, posts):
    """Posts as Fathom shows them."""
    return {"text": title + "\n" + "\n".join(f"[{i + 1}] {post}" for i, post in enumerate(posts))}


def lists_of_posts(rows, title):
    """Posts of one title each; a post whose letters have been seen is left out."""
    posts, current, seen = [], None, set()
    for row in rows:
        text = clean_post(row["text"])
        letters = re.sub(r"[^a-z]", "", text.lower())
        if not text or letters in seen:
            continue
        seen.add(letters)
        if posts and (title(row) != current or len(posts) == POSTS_OF_A_DOCUMENT):
            yield numbered(current, posts)
            posts = []
        current = title(row)
        posts.append(text)
    if posts:
        yield numbered(current, posts)


def front_pages(raw):
    titles, current = [], None
    for row in read(raw / "posts/posts_hackernews.jsonl.zst"):
        title = f"Hacker News, {day(row['created_at'])}"
        if titles and (title != current or len(titles) == 2 * POSTS_OF_A_DOCUMENT):
            yield numbered(current, titles)
            titles = []
        current = title
        titles.append(tidy(row["text"]))
    if titles:
        yield numbered(current, titles)


def stock_posts(raw):
    return lists_of_posts(
        read(raw / "posts/posts_stocknet.jsonl.zst"), lambda row: f"Posts on stocks, {day(row['created_at'])}"
    )


def crisis_posts(raw):
    def title(row):
        year, _, name = row["event"].partition("_")
        return f"Posts on {name.replace('_', ' ').lower()} in {year}"

    rows = sorted(read(raw / "posts/posts_crisislex.jsonl.zst"), key=lambda r: (r["event"].lower(), r["created_at"], r["id"]))
    return lists_of_posts((r for r in rows if "not related" not in r["label"].lower()), title)


def own_dialogues(_):
    """What the data has no example of: greetings, and who is speaking."""
    with open(pathlib.Path(__file__).with_name("own_dialogues.json"), encoding="utf-8") as file:
        for turns in json.load(file):
            yield chat(*turns)


SOURCES = [
    own_dialogues,
    schema_dialogues,
    topical_dialogues,
    reading_tasks,
    word_problems,
    short_questions,
    instructions,
    factbook,
    front_pages,
    stock_posts,
    crisis_posts,
    novels,
]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    raw, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    if not (raw / "README.md").exists():
        sys.exit(f"make_documents.py: there is no data in '{raw}'; name the folder that has it")
    out.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        documents = characters = 0
        with open(out / f"{source.__name__}.jsonl", "w", encoding="utf-8") as file:
            for number, document in enumerate(source(raw)):
                if "messages" in document:
                    document = with_system(document, number)
                documents += 1
                characters += file.write(json.dumps(document, ensure_ascii=False) + "\n")
        print(f"{source.__name__:18} {documents:7} documents {characters / 1e6:7.1f} M characters", file=sys.stderr)


if __name__ == "__main__":
    main()
