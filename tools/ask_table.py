#!/usr/bin/env python3
"""ask_table.py URL QUESTIONS.json...: asks a running `fathom serve` each question, in both writers, and prints a Markdown table.

A question file is a JSON list of {"question", "answers": [accepted strings], "gold_posts"?: [ids]}, or the truth.json of a
sample world. No accepted answers means that the feed lacks it and a refusal is right. A citation counts as right when the
words of the cited post hold an accepted answer (upper and lower case, commas in numbers and white space aside).
Standard library only. Example:

  tools/ask_table.py http://127.0.0.1:8600 tools/questions/real_posts.json > table.md
"""
import argparse
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request

WRITERS = ("fathom-extract", "fathom-generate")


def plain(text: str) -> str:
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text.casefold())
    return re.sub(r"\s+", " ", text)


def holds(text: str, answers: list[str]) -> bool:
    """Whole words only: "3" is not in "13" nor in "3.5"."""
    text = plain(text)
    return any(re.search(r"(?<!\w)(?<!\d\.)" + re.escape(plain(a)) + r"(?!\w|\.\d)", text) for a in answers)


def ask(url: str, key: str | None, model: str, question: str) -> dict:
    body = {"model": model, "messages": [{"role": "user", "content": question}], "search_parameters": {"mode": "on"}}
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = "Bearer " + key
    request = urllib.request.Request(url.rstrip("/") + "/v1/chat/completions", json.dumps(body).encode(), headers)
    start = time.monotonic()
    with urllib.request.urlopen(request, timeout=300) as response:
        answer = json.load(response)
    answer["seconds"] = time.monotonic() - start
    return answer


def cited_posts(answer: dict) -> list[dict]:
    """The cited posts in order of appearance: {"id", "text"} each."""
    out = []
    for citation in (answer.get("fathom") or {}).get("citations") or []:
        post = citation.get("post") or citation
        out.append({"id": str(post.get("id", "")), "text": post.get("text", "")})
    return out


def judge(question: dict, answer: dict) -> dict:
    answers = question.get("answers") or []
    text = answer["choices"][0]["message"].get("content") or ""
    cited = cited_posts(answer)
    gold = {str(post).split(":")[-1] for post in question.get("gold_posts") or []}
    right = [holds(post["text"], answers) for post in cited]
    return {
        "text": text,
        "said": holds(text, answers) if answers else not cited,
        "cited": len(cited),
        "right": sum(right),
        "contains": any(right) if answers else not cited,
        "gold": sum(post["id"].split(":")[-1] in gold for post in cited) if gold else None,
        "seconds": answer["seconds"],
    }


def cell(text: str) -> str:
    text = re.sub(r"\s+", " ", text).replace("|", "\\|")
    return text if len(text) <= 300 else text[:297] + "..."


def load(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    return content["questions"] if isinstance(content, dict) else content


def share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({100 * part / whole:.0f} %)" if whole else "")


def summary(model: str, rows: list[tuple[dict, dict]]) -> str:
    asked = [r for q, r in rows if q.get("answers")]
    lacking = [r for q, r in rows if not q.get("answers")]
    cited = sum(r["cited"] for r in asked)
    mean = sum(r["seconds"] for _, r in rows) / max(len(rows), 1)
    text = (f"- `{model}`: answer holds an accepted string {share(sum(r['said'] for r in asked), len(asked))}; a cited post "
            f"holds it {share(sum(r['contains'] for r in asked), len(asked))}; citations that hold it "
            f"{share(sum(r['right'] for r in asked), cited)}; mean {1000 * mean:.0f} ms")
    if lacking:
        text += f"; refused what the feed lacks {share(sum(r['said'] for r in lacking), len(lacking))}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="address of fathom serve")
    parser.add_argument("questions", nargs="+", help="question files")
    parser.add_argument("--writer", action="append", choices=WRITERS, help="one writer only (default: both)")
    parser.add_argument("--limit", type=int, default=0, help="at most so many questions")
    parser.add_argument("--hide-answers", action="store_true", help="verdicts alone: for posts that may not be published")
    options = parser.parse_args()
    try:
        questions = [q for path in options.questions for q in load(path)]
    except (OSError, ValueError, KeyError) as error:
        print(f"the questions cannot be read: {error}", file=sys.stderr)
        return 2
    questions = questions[:options.limit] if options.limit else questions
    key = os.environ.get("FATHOM_API_KEY")
    rows: dict[str, list[tuple[dict, dict]]] = {}
    print("| question | writer | answer | cited post contains the answer |\n|---|---|---|---|")
    for question in questions:
        for model in options.writer or WRITERS:
            try:
                result = judge(question, ask(options.url, key, model, question["question"]))
            except urllib.error.HTTPError as error:
                print(f"{options.url} answered {error.code}: {error.read().decode(errors='replace')[:300]}", file=sys.stderr)
                return 1
            except (urllib.error.URLError, TimeoutError) as error:
                print(f"{options.url} cannot be reached: {error}; start it with `fathom serve`", file=sys.stderr)
                return 1
            verdict = "yes" if result["contains"] else "no"
            if not question.get("answers"):
                verdict = "refused" if result["said"] else "no: it should refuse"
            print(f"| {cell(question['question'])} | {model.split('-')[-1]} | {'-' if options.hide_answers else cell(result['text'])} | {verdict} |", flush=True)
            rows.setdefault(model, []).append((question, result))
    print()
    for model, done in rows.items():
        print(summary(model, done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
