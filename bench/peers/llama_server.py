"""Compares `fathom serve` with llama-server under clients that all ask at once, in turns, with the same client program.

usage: llama_server.py FATHOM MODEL.gguf [--tools DIR] [--clients 8] [--requests 3] [--prompt 64] [--tokens 64] [--rounds 3]

--tools (or $LLAMA_TOOLS) is the folder of llama-server. Each client sends its requests one after another to /v1/completions:
a prompt of random tokens, greedy (--temperature), streamed, the end token (--end-token) forbidden by logit_bias. Each server runs alone. Printed:
tokens/s over all clients, time to the first token and time to the last, medians and bests over the rounds, and their ratios.
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from side import in_turns, print_ratios


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def language_model(port):
    """The model's name at the server, which may list more than the model itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/v1/models")
    listed = json.loads(connection.getresponse().read())["data"]
    connection.close()
    return next(m["id"] for m in listed if not (m["id"] == "fathom" or m["id"].startswith("fathom-")))


def complete(port, model, prompt, tokens, end_token, temperature):
    """Seconds to the first token and to the end, and the number of tokens, of one streamed completion."""
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": temperature, "stream": True,
            "stream_options": {"include_usage": True}, "logit_bias": {str(end_token): -100}}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    start = time.perf_counter()
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {response.read().decode(errors='replace')[:300]}")
    first, count = None, 0
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        if first is None and any(choice.get("text") for choice in chunk.get("choices", [])):
            first = time.perf_counter() - start
        if chunk.get("usage"):
            count = chunk["usage"]["completion_tokens"]
    connection.close()
    end = time.perf_counter() - start
    return first if first is not None else end, end, count


def wait_until_ready(process, port, end_token):
    """The name of the model once it answers."""
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended with {process.returncode}")
        try:
            model = language_model(port)
            complete(port, model, [5, 6, 7], 2, end_token, 0)
            return model
        except (OSError, RuntimeError, KeyError, ValueError, http.client.HTTPException) as error:
            last = error
            time.sleep(0.1)
    sys.exit(f"{process.args[0]} does not answer: {last}")


def load(port, model, a, seed):
    """One wave of clients; what they saw."""
    draw = random.Random(seed)
    prompts = [[[draw.randrange(a.first_token, a.vocabulary) for _ in range(a.prompt)] for _ in range(a.requests)] for _ in range(a.clients)]
    seen, failures = [], []

    def client(mine):
        try:
            for prompt in mine:
                seen.append(complete(port, model, prompt, a.tokens, a.end_token, a.temperature))
        except Exception as error:  # noqa: BLE001: reported below
            failures.append(error)

    threads = [threading.Thread(target=client, args=(mine,)) for mine in prompts]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if failures:
        sys.exit(f"a client failed: {failures[0]}")
    return {"tokens_per_second": sum(count for _, _, count in seen) / seconds,
            "first_token_p50_seconds": statistics.median(first for first, _, _ in seen),
            "first_token_most_seconds": max(first for first, _, _ in seen),
            "answer_p50_seconds": statistics.median(end for _, end, _ in seen)}


def serve_and_load(command, port, a, seed):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        model = wait_until_ready(process, port, a.end_token)
        result = load(port, model, a, seed)
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        result["rss_mib"] = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
        return result
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fathom")
    parser.add_argument("model")
    parser.add_argument("--tools", default=os.environ.get("LLAMA_TOOLS"), help="folder of llama-server ($LLAMA_TOOLS)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=3, help="of each client, one after another")
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--temperature", type=float, default=0, help="1 keeps random weights from repeating themselves, which our "
                        "server would guess (greedy answers of random weights do)")
    parser.add_argument("--end-token", type=int, default=2)
    parser.add_argument("--first-token", type=int, default=300, help="prompts are drawn from the tokens from this one on")
    parser.add_argument("--vocabulary", type=int, default=32000, help="and before this one")
    a = parser.parse_args()
    if not a.tools:
        sys.exit("give the folder of llama-server with --tools or in $LLAMA_TOOLS")
    seeds = iter(range(1, 1 << 30))

    def fathom():
        port = free_port()
        with tempfile.TemporaryDirectory() as state:
            return serve_and_load([a.fathom, "serve", "--model", a.model, "--address", "127.0.0.1", "--port", str(port), "--source", "none",
                                   "--data", state, "--threads", str(a.threads)], port, a, next(seeds))

    def llama():
        port = free_port()
        context = a.clients * (a.prompt + a.tokens + 16)
        return serve_and_load([str(pathlib.Path(a.tools) / "llama-server"), "-m", a.model, "--host", "127.0.0.1", "--port", str(port),
                               "-t", str(a.threads), "-np", str(a.clients), "-c", str(max(4096, context))], port, a, next(seeds))

    ours, peer = in_turns(a.rounds, fathom, llama)
    print_ratios(f"llama-server, {a.clients} clients, {a.prompt} tokens in, {a.tokens} out, {a.threads} threads, {a.rounds} rounds: "
                 "medians, then bests", ours, peer, "llama.cpp",
                 ("first_token_p50_seconds", "first_token_most_seconds", "answer_p50_seconds", "rss_mib"))


main()
