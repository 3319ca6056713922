#!/usr/bin/env python3
"""SQLite FTS5 on the posts and queries of live_bench, which runs it:

    live_bench --peer "python3 bench/peers/live_sqlite.py"

Arguments: queries.txt posts.jsonl. Prints a JSON object a measure: posts/s (wall and CPU) for batches of 1000, and the three kinds of
query. JSON is parsed before the clock starts. Two tables are measured:
 - text alone: a table of times and texts, FTS5 over the texts with positions and stemming;
 - as Fathom's index: besides, a unique key by which a post replaces an older one, an index of authors, and the columns source, language
   and likes. Committed with synchronous=FULL (a quarter of the posts) and with NORMAL.
"""
import json
import os
import resource
import sqlite3
import sys
import tempfile
import time

BATCH = 1000
QUERIES = 200


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def tell(name, **figures):
    print(json.dumps({"name": name, **figures}), flush=True)


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


COLUMNS = ("created_at", "text", "source", "id", "author", "lang", "likes")


def make_tables(db, synchronous, text_alone):
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=" + synchronous)
    if text_alone:
        db.execute("create table posts(number integer primary key, created_at text, text text)")
    else:
        db.execute(
            "create table posts(number integer primary key, created_at text, text text, source text, id text, author text,"
            " lang text, likes integer, unique(source, id))"
        )
        db.execute("create index authors on posts(author)")
    db.execute("create virtual table words using fts5(text, content=posts, content_rowid=number, tokenize='porter unicode61')")


def ingest(db, posts, synchronous, text_alone):
    make_tables(db, synchronous, text_alone)
    columns = 2 if text_alone else len(COLUMNS)
    insert = "insert or replace into posts values(?" + ",?" * columns + ")"
    millis = []
    wall, cpu = time.perf_counter(), cpu_seconds()
    for begin in range(0, len(posts), BATCH):
        start = time.perf_counter()
        rows = [(i + 1,) + posts[i][:columns] for i in range(begin, min(begin + BATCH, len(posts)))]
        with db:
            db.executemany(insert, rows)
            db.executemany("insert into words(rowid, text) values(?,?)", [(row[0], row[2]) for row in rows])
        millis.append(1e3 * (time.perf_counter() - start))
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    name = ("index, text alone" if text_alone else "index") + f", synchronous={synchronous}"
    tell(name, posts_per_s=len(posts) / wall, posts_per_cpu_s=len(posts) / cpu)
    latency(f"{name}: a batch of {BATCH}", millis)


def latency(name, millis):
    millis.sort()
    tell(name, p50_ms=millis[len(millis) // 2], p99_ms=millis[len(millis) * 99 // 100], max_ms=millis[-1])


def measure(db, name, statement, queries, extra=()):
    millis = []
    for query in queries:
        start = time.perf_counter()
        db.execute(statement, (query,) + extra).fetchall()
        millis.append(1e3 * (time.perf_counter() - start))
    latency(name, millis)


def main():
    since, any3, all2 = read_queries(sys.argv[1])
    rows = map(json.loads, open(sys.argv[2], encoding="utf-8"))
    posts = sorted((tuple(row.get(name) for name in COLUMNS) for row in rows), key=lambda post: post[:2])
    with tempfile.TemporaryDirectory() as folder:
        ingest(sqlite3.connect(os.path.join(folder, "text.db")), posts, "normal", True)
        ingest(sqlite3.connect(os.path.join(folder, "full.db")), posts[: len(posts) // 4], "full", False)
        path = os.path.join(folder, "posts.db")
        db = sqlite3.connect(path)
        ingest(db, posts, "normal", False)
        tell("disk", bytes_per_post=(os.path.getsize(path) + os.path.getsize(path + "-wal")) / len(posts))
        first = next(i for i, post in enumerate(posts) if post[0] >= since) + 1
        select = "select rowid from words where words match ? "
        measure(db, "query (a) any of 3, BM25 top 10", select + "order by rank limit 10", any3[:QUERIES])
        measure(db, "query (b) both of 2, newest 10", select + "order by rowid desc limit 10", all2[:QUERIES])
        measure(db, "query (c) any of 3, last 1 % of time", select + "and rowid >= ? order by rank limit 10", any3[:QUERIES],
                (first,))


if __name__ == "__main__":
    main()
