"""python -m benchmarks.slug: how large the service gets on Heroku; exit status 1 where it may not fit.

Installs requirements.txt into a new virtual environment, applies bin/post_compile as Heroku's buildpack
does, and compresses what a slug holds: Python, the packages, the repository without .slugignore.
"""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parent.parent
LIMIT = 480_000_000  # bytes; Heroku's is 500 MB
OMITTED = {"__pycache__", "site-packages", "test"}  # folders of Python's own library


def main() -> int:
    """Print the compressed sizes; 1 if they add up to more than LIMIT, else 0."""
    with tempfile.TemporaryDirectory() as folder:
        packages = _install(Path(folder))
        parts = {
            "packages": packages.rglob("*"),
            "Python": _python(),
            "repository": _repository(),
        }
        sizes = {name: _compressed(files, name) for name, files in parts.items()}
    for name, size in sizes.items():
        print(f"{name:12}{size / 1e6:6.0f} MB")
    total = sum(sizes.values())
    print(f"{'slug':12}{total / 1e6:6.0f} MB of {LIMIT / 1e6:.0f} MB")
    return int(total > LIMIT)


def _install(folder: Path) -> Path:
    """Where the packages are, after bin/post_compile."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-r", ROOT / "requirements.txt"], check=True)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", ROOT / "bin" / "post_compile"], check=True, env=os.environ | {"PATH": path})
    command = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([python, "-c", command], text=True).strip())


def _python() -> Iterator[Path]:
    """The interpreter and its standard library."""
    yield Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    for path in library.rglob("*"):
        if not OMITTED & set(path.relative_to(library).parts):
            yield path


def _repository() -> Iterator[Path]:
    """Tracked files that .slugignore does not leave out; its lines are folders at the top."""
    ignored = {line.strip("/") for line in (ROOT / ".slugignore").read_text().split()}
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        if name.split("/")[0] not in ignored:
            yield ROOT / name


class _Counter:
    """A file that only counts its bytes."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)


def _compressed(paths: Iterator[Path], name: str) -> int:
    """Bytes of a .tar.gz of the files among them."""
    counter = _Counter()
    with tarfile.open(fileobj=counter, mode="w|gz") as archive:
        for path in tqdm([path for path in paths if path.is_file()], desc=name, unit="file", disable=None):
            archive.add(path)
    return counter.size


if __name__ == "__main__":
    sys.exit(main())
