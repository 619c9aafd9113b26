"""RESULTS.md: a section a part, each with its command and the machine it ran on."""

import datetime
import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "RESULTS.md"
TITLE = (
    "# Results\n\nWritten by `make bench`; each part stands for itself and is written anew when it runs.\n"
)


@dataclass(frozen=True)
class Check:
    """A figure that has a target."""

    what: str
    measured: str
    target: str
    met: bool


def table(head: list[str], rows: list[list]) -> str:
    """A Markdown table; all columns but the first are right-aligned."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def milliseconds(seconds: list[float]) -> list[str]:
    """Median and 95th percentile."""
    return [f"{1000 * np.percentile(seconds, share):.0f}" for share in (50, 95)]


def publish(part: str, text: str, checks: list[Check], command: str) -> str:
    """Put a part's section in RESULTS.md in the place of its last one, and return it."""
    rows = [[check.what, check.measured, check.target, "yes" if check.met else "**no**"] for check in checks]
    section = "\n\n".join(
        [
            f"## {part.title()}",
            f"`{command}`, {datetime.date.today()}; {machine()}",
            text,
            *([table(["target", "measured", "asked for", "met"], rows)] if rows else []),
        ]
    )
    old = RESULTS.read_text() if RESULTS.exists() else TITLE
    head, *sections = re.split(r"(?m)^(?=## )", old)
    kept = {section.split("\n")[0]: section.strip() for section in sections}
    kept[section.split("\n")[0]] = section
    RESULTS.write_text("\n\n".join([head.strip(), *kept.values()]) + "\n")
    return section


def machine() -> str:
    """Processor, cores, memory, system and what runs on it, in one line."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (model := re.search(r"model name\s*:\s*(.+)", info.read_text())):
        cpu = model[1]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow-cpu", "keras", "mtcnn"))
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, {packages}"
    )
