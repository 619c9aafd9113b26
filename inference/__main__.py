"""Command line: python -m inference PHOTO_OR_FOLDER ... [--json] [--cropped] [--output DIR]
and python -m inference --video FILE_OR_CAMERA [--output FILE.mp4] [--csv FILE.csv]"""

import argparse
import codecs
import csv
import json
import mimetypes
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from math import inf
from pathlib import Path

from tqdm import tqdm

from inference.errors import MAX_BYTES, PhotoError, Reason
from inference.faces import EMOTIONS, Face, rescale
from inference.people import Census
from inference.words import describe, sum_up

ANNOTATED = ".annotated.jpg"  # ending of the photos that are written
COLUMNS = ("seconds", "number", "x", "y", "width", "height", *EMOTIONS)
COLUMNS += ("gender", "gender_probability", "age", "age_low", "age_high")


def main(arguments: list[str] | None = None) -> int:
    """Analyze photos one after the other, or a video; 1 if any could not be read, else 0."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # File names need not be UTF-8, nor have letters that the encoding of the output has.
    is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
    sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    if options.video is not None:
        if options.paths or options.json or options.cropped:
            parser.error("--video goes with --output and --csv alone")
        _check(parser, options)
        return _film(options)
    if options.csv:
        parser.error("--csv goes with --video")
    photos = list(_photos(options.paths, options.output))
    if not photos:
        none = (
            "there are no files in what you named" if options.paths else "name photos or folders, or --video"
        )
        parser.error(none)
    if options.output:
        _check_folder(parser, options.output, photos)

    from inference.analyzer import FaceAnalyzer  # TensorFlow: not for a mistyped command

    analyzer = FaceAnalyzer()
    failed = False
    # disable=None: no bar unless stderr is a terminal
    for path, name in tqdm(photos, unit="photo", disable=None):
        try:
            result = _analyze(analyzer, path, name, options)
        except PhotoError as error:
            failed = True
            result = {"path": str(path), "error": f"{error}{_hint(path)}"}
        except (OSError, MemoryError) as error:
            failed = True
            told, where = getattr(error, "strerror", None) or str(error), getattr(error, "filename", None)
            elsewhere = f": {where}" if where and where != str(path) else ""  # as of what is written
            result = {"path": str(path), "error": f"{told}{elsewhere}"}
        tqdm.write(json.dumps(result) if options.json else _to_text(result), file=sys.stdout)
        sys.stdout.flush()
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m inference", description="Find faces; tell emotion, gender and age."
    )
    parser.add_argument(
        "paths",
        nargs="*",
        type=_path,
        metavar="PHOTO_OR_FOLDER",
        help="to analyze; of a folder all files below it",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a photo, each on its own line"
    )
    parser.add_argument("--cropped", action="store_true", help="take each whole picture as one face crop")
    parser.add_argument(
        "--output",
        type=_path,
        metavar="DIR_OR_FILE",
        help="write the annotated photos into this folder, as JPEG; or the annotated video as this MP4",
    )
    parser.add_argument(
        "--video",
        metavar="FILE_OR_CAMERA",
        help="analyze a video, or what the camera of this number sees until Ctrl-C",
    )
    parser.add_argument(
        "--csv",
        type=_path,
        metavar="FILE",
        help="of a video, write a row for each face each time that it is read",
    )
    return parser


def _path(text: str) -> Path:
    if not text:  # which would be this folder, where a variable of the shell is not set
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def _photos(paths: list[Path], output: Path | None) -> Iterator[tuple[Path, Path]]:
    """The files themselves, and all files of the folders below them but hidden ones and those that were
    written into `output`, each with its name there: its place below the folder that was named.

    What can't be looked at is taken for a file, so that reading it tells why.
    """
    output = output and output.resolve()
    for path in paths:
        if not os.path.isdir(path):  # Path.is_dir raises where that can't be told
            yield path, Path(path.name)
            continue
        for file in _below(path):
            name = file.relative_to(path)
            written = file.name.endswith(ANNOTATED) and output and file.resolve().is_relative_to(output)
            if not written and not any(part.startswith(".") for part in name.parts):
                yield file, name


def _below(folder: Path) -> list[Path]:
    """All files of a folder and those in it, and what there can't be looked at."""
    found: list[Path] = []
    for place, _, names in os.walk(folder, onerror=lambda error: found.append(Path(error.filename))):
        found.extend(filter(_may_be_a_file, (Path(place, name) for name in names)))
    return sorted(found)


def _may_be_a_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except PermissionError:
        return True
    except OSError:  # as of a link to nowhere
        return False


def _check_folder(parser: argparse.ArgumentParser, output: Path, photos: list[tuple[Path, Path]]) -> None:
    """Make the folder, and refuse to write where there can be none, or two photos to one file."""
    first: dict[Path, Path] = {}
    for path, name in photos:
        if first.setdefault(name, path).resolve() != path.resolve():
            parser.error(f"--output would write {path} over {first[name]}: name a folder that holds both")
    kind, _ = mimetypes.guess_type(output)
    if kind and not output.exists():
        parser.error(f"--output names a folder for all photos, and {output} looks like a file")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        parser.error(f"{output} is not a folder")
    except OSError as error:
        parser.error(f"{output}: {error.strerror}")


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
        target = options.output / name.with_name(f"{name.name}{ANNOTATED}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.write_bytes(encode_jpeg(draw(photo.image, faces)))
        except OSError as error:  # which does not name it where the disk is full
            raise OSError(error.errno, error.strerror, str(target)) from None
    height, width = photo.image.shape[:2]
    faces = [rescale(face, photo.width / width, photo.height / height) for face in faces]
    result = {"path": str(path), "width": photo.width, "height": photo.height, "milliseconds": milliseconds}
    if options.json:
        return result | {"faces": [face.to_dict() for face in faces]}
    return result | {"lines": [_line(face) for face in faces]}


def _hint(path: Path) -> str:
    """What else to try with a file that can't be read as a photo."""
    kind, _ = mimetypes.guess_type(path)
    return "; videos go with --video" if kind and kind.startswith("video/") else ""


def _line(face: Face) -> str:
    """What is told of a face; of a picture that is taken for one, whether there was one to see."""
    return describe(face) if face.confidence else f"{describe(face)}, though no face was seen"


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse to write over the video, to one file twice, where there is no folder, or another format."""
    if options.output and options.output.suffix.lower() != ".mp4":
        parser.error(f"--output writes MP4: {options.output} must end in .mp4")
    taken = {Path(options.video).resolve(): "the video"}
    for name, target in (("--output", options.output), ("--csv", options.csv)):
        if target is None:
            continue
        place = target.resolve()
        if place in taken:
            parser.error(f"{name} would write over {taken[place]}")
        if not os.path.isdir(target.parent):
            parser.error(f"{name} needs the folder {target.parent}, which does not exist")
        taken[place] = name


def _film(options: argparse.Namespace) -> int:
    """Analyze a video file, or a camera until Ctrl-C; 1 if it could not be read or written, else 0."""
    try:
        census, seconds = _record(options)
    except (PhotoError, OSError, MemoryError) as error:
        name = getattr(error, "filename", None) or options.video
        name = name.removeprefix("file:")  # as FFmpeg was told
        print(f"{name}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 1
    people = census.people()
    print(f"{options.video}: {_count(len(people), 'person', 'people')} in {seconds:.1f} s")
    for person in people:
        print(f"  {person.number}. {sum_up(person)}")
    return 0


def _record(options: argparse.Namespace) -> tuple[Census, float]:
    """Write what is asked for, and return whom there was and how long it took."""
    from inference.analyzer import FaceAnalyzer
    from inference.camera import Camera
    from inference.footage import Reader, Writer
    from inference.video import Pace, annotate, follow

    camera = options.video.isdecimal()
    source = Camera(int(options.video)) if camera else Reader(Path(options.video))
    analyzer, census, spots, seconds = FaceAnalyzer(), Census(), {}, 0.0
    with ExitStack() as stack:
        writer = table = None
        if options.output:
            writer = stack.enter_context(closing(Writer(options.output, source.sound)))
        length = None if source.seconds == inf else round(source.seconds, 1)
        bar = stack.enter_context(tqdm(total=length, unit="s", disable=None))
        try:
            for shot in follow(source.frames(writer and writer.hear), analyzer, Pace(), lambda stage: None):
                if writer:
                    writer.show(annotate(shot, spots), shot.seconds)
                if shot.seen:
                    census.note(shot.tracks, shot.seconds)
                if options.csv and table is None:  # not before there is something to write
                    table = csv.writer(stack.enter_context(options.csv.open("w", newline="")))
                    table.writerow(COLUMNS)
                if shot.seen and table:
                    table.writerows(_rows(shot, source.width, source.height))
                bar.update(round(shot.seconds - bar.n, 1))
                seconds = shot.seconds
        except KeyboardInterrupt:
            if not camera:  # it has no other end
                raise
    return census, seconds


def _rows(shot, width: int, height: int) -> Iterator[list]:
    """A row of COLUMNS for each face of a frame, in pixels of the video as it was."""
    across, down = width / shot.image.shape[1], height / shot.image.shape[0]
    for track in shot.tracks:
        face = rescale(track.face, across, down).to_dict()
        emotions, gender, age = face["emotion"]["probabilities"], face["gender"], face["age"]
        values = *emotions.values(), *gender.values(), *age.values()
        yield [round(shot.seconds, 3), track.number, *face["box"], *values]


def _to_text(result: dict) -> str:
    if "error" in result:
        return f"{result['path']}: {result['error']}"
    lines = [f"  {number}. {line}" for number, line in enumerate(result["lines"], 1)]
    return "\n".join([f"{result['path']}: {_count(len(lines), 'face', 'faces')}"] + lines)


def _count(found: int, one: str, many: str) -> str:
    return {0: "no face found", 1: f"1 {one}"}.get(found, f"{found} {many}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader has what it wanted, as `head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
