"""totals.py LOG...: adds up what ctest and node's test runner counted; fails when a log has no count or counts a failure."""
import re
import sys


def counts(text: str) -> tuple[int, int, int] | None:
    """(passed, failed, skipped) of one log, or None when no runner closed in it."""
    if match := re.search(r"(\d+)% tests passed, (\d+) tests failed out of (\d+)", text):
        failed, total = int(match[2]), int(match[3])
        skipped = len(re.findall(r"^\s*\d+ - .*\((?:Skipped|Disabled)\)", text, re.M))
        return total - failed - skipped, failed, skipped
    numbers = {name: int(n) for name, n in re.findall(r"^(?:\S+ )?(pass|fail|skipped|cancelled) (\d+)$", text, re.M)}
    if "pass" in numbers:
        return numbers["pass"], numbers.get("fail", 0) + numbers.get("cancelled", 0), numbers.get("skipped", 0)
    return None


def main() -> int:
    total = [0, 0, 0]
    whole = True
    for path in sys.argv[1:]:
        found = counts(open(path, encoding="utf-8", errors="replace").read())
        if found is None:
            print(f"no totals were printed by the '{path.rsplit('/', 1)[-1]}' tests: they did not run to their end")
            whole = False
        else:
            total = [a + b for a, b in zip(total, found)]
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 0 if whole and total[1] == 0 and total[0] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
