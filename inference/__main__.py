"""Command line: python -m inference PHOTO_OR_FOLDER ... [--json] [--cropped] [--output DIR]"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from inference.errors import MAX_BYTES, PhotoError, Reason
from inference.faces import rescale
from inference.words import describe


def main(arguments: list[str] | None = None) -> int:
    """Analyze photos one after the other; 1 if any could not be read, else 0."""
    parser = _parser()
    options = parser.parse_args(arguments)
    photos = list(_photos(options.paths))
    if not photos:
        parser.error("there are no files in what you named")
    if options.output and options.output.exists() and not options.output.is_dir():
        parser.error(f"{options.output} is not a folder")
    sys.stdout.reconfigure(errors="surrogateescape")  # file names need not be UTF-8

    from inference.analyzer import FaceAnalyzer  # TensorFlow: not for a mistyped command

    analyzer = FaceAnalyzer()
    failed = False
    # disable=None: no bar unless stderr is a terminal
    for path, name in tqdm(photos, unit="photo", disable=None):
        try:
            result = _analyze(analyzer, path, name, options)
        except (PhotoError, OSError, MemoryError) as error:
            failed = True
            result = {"path": str(path), "error": getattr(error, "strerror", None) or str(error)}
        tqdm.write(json.dumps(result) if options.json else _to_text(result), file=sys.stdout)
        sys.stdout.flush()
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m inference", description="Find faces; tell emotion, gender and age."
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a photo, each on its own line"
    )
    parser.add_argument("--cropped", action="store_true", help="take each whole picture as one face crop")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write the annotated photos there, as JPEG"
    )
    return parser


def _photos(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """The files themselves, and all files of the folders below them but hidden ones, each with its name
    in the output: its place below the folder that was named."""
    for path in paths:
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path)
            if file.is_file() and not any(part.startswith(".") for part in name.parts):
                yield file, name


def _analyze(analyzer, path: Path, name: Path, options: argparse.Namespace) -> dict:
    from inference.drawing import draw, encode_jpeg
    from inference.intake import read_photo

    start = time.perf_counter()
    if path.stat().st_size > MAX_BYTES:  # not even read
        raise PhotoError(Reason.TOO_MANY_BYTES)
    photo = read_photo(path.read_bytes())
    faces = analyzer.analyze_crop(photo.image) if options.cropped else analyzer.analyze(photo.image)
    milliseconds = round((time.perf_counter() - start) * 1000)
    if options.output:
        # The suffix stays in the name: a.png and a.jpg must not write over each other.
        target = options.output / name.with_name(f"{name.name}.annotated.jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encode_jpeg(draw(photo.image, faces)))
    faces = [rescale(face, photo.width / photo.image.shape[1]) for face in faces]
    result = {"path": str(path), "width": photo.width, "height": photo.height, "milliseconds": milliseconds}
    if options.json:
        return result | {"faces": [face.to_dict() for face in faces]}
    return result | {"lines": [describe(face) for face in faces]}


def _to_text(result: dict) -> str:
    if "error" in result:
        return f"{result['path']}: {result['error']}"
    lines = [f"  {number}. {line}" for number, line in enumerate(result["lines"], 1)]
    return "\n".join([f"{result['path']}: {_count(len(lines))}"] + lines)


def _count(faces: int) -> str:
    return {0: "no face found", 1: "1 face"}.get(faces, f"{faces} faces")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader has what it wanted, as `head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
