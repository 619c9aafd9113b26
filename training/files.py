"""Files that are whole or not there at all: a process may be killed while it writes."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a file beside `path` to write to, which takes its place once that has been done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: dict | list) -> None:
    """Write JSON that people can read."""
    with whole(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n")
