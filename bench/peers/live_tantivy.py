#!/usr/bin/env python3
"""Tantivy (the package `tantivy` of PyPI) on the posts and queries of live_bench, which runs it:

    live_bench --peer "python3 bench/peers/live_tantivy.py"

Arguments: queries.txt posts.jsonl. One indexing thread, English stemming, positions, text stored; besides, key, source, author and
language as terms and likes as a column (no post replaces another: the engine would have to be told of each); a commit each 100,000
posts (a commit makes posts searchable and syncs them: at each 1000 the engine spends its time on merging). Prints a JSON object a
measure.
"""
import json
import os
import resource
import sys
import tempfile
import time

import tantivy

COMMIT = 100_000
COLUMNS = ("id", "source", "author", "lang")


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def tell(name, **figures):
    print(json.dumps({"name": name, **figures}), flush=True)


def latency(name, millis):
    millis.sort()
    tell(name, p50_ms=millis[len(millis) // 2], p99_ms=millis[len(millis) * 99 // 100], max_ms=millis[-1])


def read_queries(path):
    since, any3, all2 = "", [], []
    for line in open(path, encoding="utf-8"):
        kind, rest = line.rstrip("\n").split(" ", 1)
        if kind == "since":
            since = rest
        else:
            (any3 if kind == "any" else all2).append(rest.split())
    return since, any3, all2


def ingest(index, posts):
    writer = index.writer(heap_size=256 << 20, num_threads=1)
    millis = []
    wall, cpu = time.perf_counter(), cpu_seconds()
    for begin in range(0, len(posts), COMMIT):
        for i in range(begin, min(begin + COMMIT, len(posts))):
            document = tantivy.Document()
            document.add_text("text", posts[i][1])
            document.add_unsigned("number", i)
            document.add_unsigned("likes", posts[i][2])
            for name, value in zip(COLUMNS, posts[i][3:]):
                document.add_text(name, value)
            writer.add_document(document)
        start = time.perf_counter()
        writer.commit()
        millis.append(1e3 * (time.perf_counter() - start))
    writer.wait_merging_threads()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    tell("index", posts_per_s=len(posts) / wall, posts_per_cpu_s=len(posts) / cpu)
    latency(f"index: a commit each {COMMIT}", millis)


def main():
    since, any3, all2 = read_queries(sys.argv[1])
    rows = map(json.loads, open(sys.argv[2], encoding="utf-8"))
    posts = [(p["created_at"], p["text"], p.get("likes", 0)) + tuple(p.get(name, "") for name in COLUMNS) for p in rows]
    posts.sort(key=lambda post: post[:2])
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", stored=True, tokenizer_name="en_stem", index_option="position")
    builder.add_unsigned_field("number", stored=False, indexed=True, fast=True)
    builder.add_unsigned_field("likes", stored=True, indexed=False, fast=True)
    for name in COLUMNS:
        builder.add_text_field(name, stored=True, tokenizer_name="raw", index_option="basic")
    with tempfile.TemporaryDirectory() as folder:
        index = tantivy.Index(builder.build(), path=folder)
        ingest(index, posts)
        index.reload()
        size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
        tell("disk", bytes_per_post=size / len(posts))
        searcher = index.searcher()

        def measure(name, make, queries, **options):
            millis = []
            for words in queries:
                start = time.perf_counter()
                searcher.search(make(words), 10, count=False, **options)
                millis.append(1e3 * (time.perf_counter() - start))
            latency(name, millis)

        def boolean(words, occur):
            term = lambda word: tantivy.Query.term_query(index.schema, "text", word, index_option="freq")
            return tantivy.Query.boolean_query([(occur, term(word)) for word in words])

        first = next(i for i, post in enumerate(posts) if post[0] >= since)
        recent = tantivy.Query.range_query(index.schema, "number", tantivy.FieldType.Unsigned, first, len(posts))
        should, must = tantivy.Occur.Should, tantivy.Occur.Must
        measure("query (a) any of 3, BM25 top 10", lambda words: boolean(words, should), any3)
        measure("query (b) both of 2, newest 10", lambda words: boolean(words, must), all2, order_by_field="number")
        measure("query (c) any of 3, last 1 % of time",
                lambda words: tantivy.Query.boolean_query([(must, boolean(words, should)), (must, recent)]), any3)


if __name__ == "__main__":
    main()
