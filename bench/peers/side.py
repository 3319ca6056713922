"""What the peer comparisons share: running two sides in turns, and the table of medians, bests and their ratio."""
import json
import statistics
import subprocess
import sys


def last_json(command, **options):
    """The JSON that a command prints last: one line, or everything it prints."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    text = done.stdout.strip()
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return json.loads(text.splitlines()[-1])


def in_turns(rounds, *sides):
    """Calls each side once a round; lists of results, one a side. The order changes from round to round."""
    results = [[] for _ in sides]
    for r in range(rounds):
        order = range(len(sides)) if r % 2 == 0 else reversed(range(len(sides)))
        for i in order:
            results[i].append(sides[i]())
    return results


def print_ratios(title, ours, peer, peer_name, lower_is_better=()):
    """A row a key: medians, and the best of each side, which other programs on the machine disturb least."""
    print(title)
    print(f"{'':32}{'fathom':>12}{peer_name:>14}{'ratio':>8}{'best':>12}{'best':>14}{'ratio':>8}")
    for key in peer[0]:
        x, y = ([side[key] for side in results if side.get(key) is not None] for results in (ours, peer))
        if not x or not y or not isinstance(x[0], (int, float)):
            continue
        best = min if key in lower_is_better else max
        mx, my, bx, by = statistics.median(x), statistics.median(y), best(x), best(y)
        print(f"{key:32}{mx:12.2f}{my:14.2f}{mx / my:8.2f}{bx:12.2f}{by:14.2f}{bx / by:8.2f}", flush=True)
