"""Take away or damage each input in turn: none may end green, and each gets one clear line.

`python -m benchmarks.broken_inputs` prints what was broken, the exit code and the line, and writes
results/broken_inputs.json; it exits with 1 where anything ended green. Tests hold the same table.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests import broken_inputs
from tests.project import ci_mlops

RESULTS = Path(__file__).parent / "results" / "broken_inputs.json"


def cases(folder: Path) -> Iterator[tuple[str, int, str, str]]:
    """Break one input after the other; yield what, the exit code, the output, and words of it."""
    repo = broken_inputs.new_repo(folder / "small")
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit({"note.txt": "a change"})
    for what, (files, words) in broken_inputs.FILES.items():
        yield what, *broken_inputs.run_with(repo, files), words
        repo.git("checkout", "-q", ".")
    for what in broken_inputs.RECORDS:
        yield what, *broken_inputs.verdict_with(repo, what), "policy"
    for number, (what, (_, words)) in enumerate(broken_inputs.RULES.items()):
        yield what, *broken_inputs.first_commit_with(folder / str(number), what), words
    code, output, errors = ci_mlops(repo.path, "run", "--base", "no-such-commit")
    yield "no base commit", code, output + errors, "no-such-commit"


def main() -> int:
    """Print, write; 1 where anything ended green or without its line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as name:
        for what, code, said, words in cases(Path(name)):
            line = next((one.strip() for one in said.splitlines() if words in one), "")
            found.append({"broken": what, "exit": code, "line": line.replace(name, "")})
            print(f"{what:26} exit {code}  {line[:150]}", flush=True)
    green = [one["broken"] for one in found if one["exit"] not in {1, 2} or not one["line"]]
    print(f"{len(found) - len(green)} of {len(found)} were named and not green")
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    options.output.write_text(text, encoding="utf-8")
    return 1 if green else 0


if __name__ == "__main__":
    sys.exit(main())
