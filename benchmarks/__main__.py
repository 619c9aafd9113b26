"""Command line: python -m benchmarks [pipeline] [service] [live] [memory]; all where none is named."""

import argparse
import importlib
import sys

from benchmarks.report import publish

PARTS = ("pipeline", "service", "live", "memory")


def main() -> int:
    """Run the parts, print and publish their sections; 1 if a target was missed, else 0."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure; write RESULTS.md.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    named = parser.parse_args().parts
    missed = False
    for part in named or PARTS:
        text, checks = importlib.import_module(f"benchmarks.{part}").run()
        command = f"python -m benchmarks {part}" if named else "make bench"
        print(publish(part, text, checks, command), end="\n\n", flush=True)
        missed = missed or not all(check.met for check in checks)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
