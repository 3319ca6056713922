#!/usr/bin/env python3
"""SQLite FTS5 on the posts and queries of live_bench: the nearest engine that every machine has.

    live_bench --queries queries.txt posts/*.jsonl.zst
    zstdcat posts/*.jsonl.zst > posts.jsonl
    live_sqlite.py queries.txt posts.jsonl

Prints posts/s (wall and CPU) for batches of 1000 committed with synchronous=FULL, and p50/p99 of the three kinds of
query. The words in the queries are Fathom's stems, so the table uses SQLite's own Porter stemmer, which maps them alike.
"""
import json
import os
import resource
import sqlite3
import sys
import tempfile
import time

BATCH = 1000


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def read_queries(path):
    since, any3, all2 = "", [], []
    for line in open(path, encoding="utf-8"):
        kind, rest = line.rstrip("\n").split(" ", 1)
        if kind == "since":
            since = rest
        else:
            words = ['"%s"' % word.replace('"', '""') for word in rest.split()]
            (any3 if kind == "any" else all2).append((" OR " if kind == "any" else " AND ").join(words))
    return since, any3, all2


def ingest(db, posts):
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=full")
    db.execute("create table posts(id integer primary key, created text, text text)")
    db.execute("create virtual table words using fts5(text, content=posts, content_rowid=id, tokenize='porter unicode61')")
    wall, cpu = time.perf_counter(), cpu_seconds()
    for begin in range(0, len(posts), BATCH):
        rows = [(i + 1,) + posts[i] for i in range(begin, min(begin + BATCH, len(posts)))]
        with db:
            db.executemany("insert into posts values(?,?,?)", rows)
            db.executemany("insert into words(rowid, text) values(?,?)", [(row[0], row[2]) for row in rows])
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    print(f"ingest, durable, batches of {BATCH} (no JSON): {len(posts) / wall:.0f} posts/s  {len(posts) / cpu:.0f} posts/CPU-s")


def measure(db, name, statement, queries, extra=()):
    millis = []
    for query in queries:
        start = time.perf_counter()
        db.execute(statement, (query,) + extra).fetchall()
        millis.append(1e3 * (time.perf_counter() - start))
    millis.sort()
    print(f"{name}: p50 {millis[len(millis) // 2]:.3f} ms  p99 {millis[len(millis) * 99 // 100]:.3f} ms")


def main():
    since, any3, all2 = read_queries(sys.argv[1])
    posts = sorted((p["created_at"], p["text"]) for p in map(json.loads, open(sys.argv[2], encoding="utf-8")))
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(os.path.join(folder, "posts.db"))
        ingest(db, posts)
        first = next(i for i, post in enumerate(posts) if post[0] >= since) + 1
        select = "select rowid from words where words match ? "
        count = int(sys.argv[3]) if len(sys.argv) > 3 else 200
        measure(db, "query (a) any of 3, BM25 top 10", select + "order by rank limit 10", any3[:count])
        measure(db, "query (b) both of 2, newest 10", select + "order by rowid desc limit 10", all2[:count])
        measure(db, "query (c) any of 3, last 1 % of time", select + "and rowid >= ? order by rank limit 10", any3[:count],
                (first,))


if __name__ == "__main__":
    main()
