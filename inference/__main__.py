"""Command line: python -m inference PHOTO_OR_FOLDER ... [--json] [--cropped] [--output DIR]"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from inference.analyzer import FaceAnalyzer
from inference.drawing import draw, encode_jpeg
from inference.errors import PhotoError
from inference.faces import rescale
from inference.intake import read_photo
from inference.words import describe


def main(arguments: list[str] | None = None) -> int:
    """Analyze photos one after the other; 1 if any could not be read, else 0."""
    options = _parse(arguments)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    analyzer = FaceAnalyzer()
    failed = False
    # disable=None: no bar unless stderr is a terminal
    for path in tqdm(list(_photos(options.paths)), unit="photo", disable=None):
        try:
            result = _analyze(analyzer, path, options)
        except (PhotoError, OSError) as error:
            failed = True
            result = {"path": str(path), "error": str(error)}
        tqdm.write(json.dumps(result) if options.json else _to_text(result), file=sys.stdout)
        sys.stdout.flush()
    return int(failed)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
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
    return parser.parse_args(arguments)


def _photos(paths: list[Path]) -> Iterator[Path]:
    """The files themselves, and all files of the folders below them, but hidden ones."""
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("[!.]*") if file.is_file())
        else:
            yield path


def _analyze(analyzer: FaceAnalyzer, path: Path, options: argparse.Namespace) -> dict:
    start = time.perf_counter()
    photo = read_photo(path.read_bytes())
    faces = analyzer.analyze_crop(photo.image) if options.cropped else analyzer.analyze(photo.image)
    milliseconds = round((time.perf_counter() - start) * 1000)
    if options.output:
        # The suffix stays in the name: a.png and a.jpg must not write over each other.
        (options.output / f"{path.name}.annotated.jpg").write_bytes(encode_jpeg(draw(photo.image, faces)))
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
    sys.exit(main())
