"""What is wrong with a data set: pictures that are broken, no faces, copies of others, or labelled wrongly.

All of it is told in findings.csv, counted in report.md and shown on sheets; clean.txt names the pictures of
`train` that are left without those of the kinds in DROPPED. They are for a person to look through first.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import keras
import numpy as np
from cleanlab.filter import find_label_issues

from inference.alignment import align
from inference.decoding import age_quantile
from training import classes
from training.cards import table
from training.data import (
    DATASETS,
    Faces,
    dataset,
    ferplus_table,
    locate,
    seen,
    slug,
    somewhere,
    unique_majority,
)
from training.duplicates import exact_copies, folds, groups, near_copies
from training.evaluation import AGE_BANDS, COARSE_BANDS, GENDERS, band_names
from training.experiment import (
    LABELS,
    Located,
    Recipe,
    answers,
    build,
    crops,
    names_digest,
    probabilities,
    settings_of,
    taken,
    task_of,
)
from training.files import whole
from training.fitting import claim, fit
from training.networks import precision
from training.sheets import write_sheet
from training.tasks import class_weights, kinds

SPLITS = ("train", "valid")
FLAT_SHARE = 0.6  # of the pixels, that have the most frequent grey level
SAME_AGE = 5  # years that copies may differ by
FOLDS = 3
DOUBTED_YEARS, DOUBTED_SHARE = 10, 0.3  # an age is doubted that is off by so much and this share of the guess
COMPARED_SIDE = 48  # pixels of the faces by which photos are compared
SHOWN = 60  # findings of a kind on its sheet

# Kinds of findings, and whether clean.txt leaves those of `train` out.
DROPPED = {
    "unreadable": True,
    "not understood": True,  # neither name nor folder tells a label
    "flat": True,  # one grey level dominates
    "voted no face": True,  # by FER+
    "no face seen": False,  # in a face crop, by our detector, which misses faces too
    "no face in the photo": True,  # nor can be cut there
    "person on both sides": False,  # without folders `train` and `valid`, readers divide by person
    "copied across splits": True,
    "copied with another label": True,
    "exact copy": True,  # of an earlier picture of the split
    "near copy": True,
    "doubtful label": True,
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one picture.

    Attributes:
        kind: of DROPPED.
        detail: in a few words.
        rows: of the pictures to show: its own and that of the copy.
        score: orders the findings of a kind, the worst first.
    """

    split: str
    name: str
    kind: str
    detail: str = ""
    rows: tuple[int, ...] = ()
    score: float = 0


def inspect(name: str, data: Path, runs: Path, epochs: int, network: str = "residual") -> str:
    """Look through a data set and write what is found into runs/inspect-NAME.

    Labels are doubted by networks that were fitted to other pictures, of `train` alone, as who fits to
    clean.txt measures on `valid`: FOLDS fits of `epochs` epochs for each thing that the labels tell, with a
    person and the copies of a photo in one fold; stopped, they are gone on with. The others take a minute for
    30,000 pictures whose landmarks are known, and are written before.

    Args:
        name: of training.data.dataset.
        epochs: 0 doubts no label.
        network: that doubts, of training.experiment.NETWORKS.

    Returns:
        The report, Markdown.

    Raises:
        FileNotFoundError: there is no such data set.
        ValueError: it is too small to be divided, into splits or into folds.
    """
    source, folder = dataset(name), runs / f"inspect-{slug(name)}"
    parts = [source.read(data / source.folder, split) for split in SPLITS]
    faces = _joined(parts)
    if "votes" in faces.labels:
        faces = replace(faces, labels=classes.merge(faces.labels, source.classes))
    splits = np.repeat(SPLITS, [len(part) for part in parts])
    landmarks = np.concatenate(
        [locate(part, f"{source.folder}-{split}", source.photos) for part, split in zip(parts, SPLITS)]
    )
    first = exact_copies(faces.images)
    # Photos of one place are alike, whoever is in them.
    alike = near_copies(_faces(faces.images, landmarks) if source.photos else faces.images)
    pairs = np.concatenate([_links(first), alike[~_expressions_differ(faces.labels, alike)]])
    copies = groups(pairs, len(faces))
    findings = [
        *_left_out(parts),
        *_pictures(faces, splits, landmarks, data / source.folder, source.photos),
        *_on_both_sides(faces, splits),
        *_copied(faces, splits, first, copies),
    ]
    tasks = [task for task in source.tasks if epochs and LABELS[task] in faces.labels]
    merged = {"emotion": {"classes": source.classes}}
    recipes = [Recipe(task, network, dataset=name, epochs=epochs, **merged.get(task, {})) for task in tasks]
    rows = np.flatnonzero(somewhere(landmarks))  # of all pictures but photos without a face
    located = taken((faces, landmarks), rows)
    fold_of = folds(_with_persons(faces, pairs)[rows], FOLDS, seed=0) if recipes else None
    for recipe in recipes:
        _claim(recipe, located, splits[rows], fold_of, folder)  # before what others found is written over
    balance = _balance(faces.labels, AGE_BANDS if name in DATASETS else COARSE_BANDS)
    doubted: list[str] = []
    if not recipes or not (folder / "report.md").exists():  # the fits may be stopped
        report = _write(faces, splits, findings, doubted, balance, folder)
    for recipe in recipes:
        said = _out_of_fold(recipe, located, splits[rows], fold_of, folder)
        doubts = sorted(_doubtful(recipe.task, located[0], splits[rows], said), key=lambda found: found.score)
        # By rank, so that the worst of each task come first on the sheet.
        findings += [
            replace(found, rows=tuple(rows[[*found.rows]].tolist()), score=rank)
            for rank, found in enumerate(doubts)
        ]
        doubted.append(recipe.task)
        report = _write(faces, splits, findings, doubted, balance, folder)
    return report


def _joined(parts: list[Faces]) -> Faces:
    train, valid = parts
    return Faces(
        np.concatenate([train.names, valid.names]),
        train.images + valid.images,
        {key: np.concatenate([column, valid.labels[key]]) for key, column in train.labels.items()},
    )


def _faces(images: Sequence[np.ndarray], landmarks: np.ndarray) -> list[np.ndarray]:
    """The faces of photos; of one without, a crop that is like no other."""
    black = np.zeros((COMPARED_SIDE, COMPARED_SIDE), np.uint8)
    return [
        align(image, points, COMPARED_SIDE) if there else black
        for image, points, there in zip(images, landmarks, somewhere(landmarks))
    ]


def _expressions_differ(labels: dict[str, np.ndarray], pairs: np.ndarray) -> np.ndarray:
    """(pairs,) bool: those of one known person who shows another emotion, which changes few pixels."""
    if not {"group", "votes"} <= labels.keys():
        return np.zeros(len(pairs), bool)
    persons, emotions = labels["group"][pairs], labels["votes"].argmax(axis=1)[pairs]
    return (persons[:, 0] == persons[:, 1]) & (emotions[:, 0] != emotions[:, 1])


def _links(first: np.ndarray) -> np.ndarray:
    """(n, 2) pairs of each row and the first of its kind."""
    return np.stack([first, np.arange(len(first))], axis=1)


def _with_persons(faces: Faces, pairs: np.ndarray) -> np.ndarray:
    """(n,) number of each picture's group: copies, by their pairs, and, where they are known, persons."""
    if "group" in faces.labels:
        _, first, numbers = np.unique(faces.labels["group"], return_index=True, return_inverse=True)
        pairs = np.concatenate([pairs, _links(first[numbers])])
    return groups(pairs, len(faces))


def _left_out(parts: list[Faces]) -> Iterator[Finding]:
    """Files that the reader made no faces of."""
    for part, split in zip(parts, SPLITS):
        yield from (Finding(split, name, "unreadable") for name in part.unreadable)
        yield from (Finding(split, name, "not understood") for name in part.not_understood)


def _pictures(
    faces: Faces, splits: np.ndarray, landmarks: np.ndarray, root: Path, photos: bool
) -> Iterator[Finding]:
    """What is wrong with single pictures."""
    votes = ferplus_table(root) if (root / "fer2013new.csv").exists() else None
    if votes and votes.keys().isdisjoint(faces.names.tolist()):
        votes = None  # the pictures are named otherwise, as Kaggle does
    for row, (split, name, image) in enumerate(zip(splits, faces.names.tolist(), faces.images)):
        share = _flat_share(image)
        if share > FLAT_SHARE:
            yield Finding(split, name, "flat", f"{share:.0%} one grey level", (row,), -share)
        if votes is not None and _voted_no_face(votes.get(name)):
            yield Finding(split, name, "voted no face", "", (row,))
        if not seen(image, landmarks[row]):
            yield Finding(split, name, "no face in the photo" if photos else "no face seen", "", (row,))


def _flat_share(image: np.ndarray) -> float:
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.bincount(grey.ravel()).max() / grey.size


def _on_both_sides(faces: Faces, splits: np.ndarray) -> Iterator[Finding]:
    """Pictures of persons who are in both splits, each with the first one in the other."""
    if "group" not in faces.labels:
        return
    places = list(zip(splits.tolist(), faces.labels["group"].tolist()))
    first = {}
    for row, place in enumerate(places):
        first.setdefault(place, row)
    for row, (split, person) in enumerate(places):
        (opposite,) = {*SPLITS} - {split}
        other = first.get((opposite, person))
        if other is not None:
            detail = f"{person}, as {opposite}/{faces.names[other]}"
            yield Finding(split, faces.names[row], "person on both sides", detail, (row, other))


def _voted_no_face(row: dict[str, str] | None) -> bool:
    """Whether no more of FER+'s voters saw anything else; where they all agreed, it has no row."""
    return row is None or int(row["NF"]) >= max(
        int(row[key]) for key in row if key not in ("Usage", "Image name")
    )


def _copied(faces: Faces, splits: np.ndarray, first: np.ndarray, copies: np.ndarray) -> Iterator[Finding]:
    """Copies, by the first picture with the same pixels as each, and the groups of copies of one photo."""
    order = np.argsort(copies, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(copies[order])) + 1):
        if len(rows) == 1:
            continue
        across = len(set(splits[rows])) > 1
        differ = _differ(faces.labels, rows)
        for row in rows.tolist():
            others = rows[(splits[rows] != splits[row]) if across else (rows != row)]
            other = int(others[0])
            details = splits[row], faces.names[row]
            of = f"of {splits[other]}/{faces.names[other]}"
            if across:
                yield Finding(*details, "copied across splits", of, (row, other))
            if differ:
                yield Finding(*details, "copied with another label", f"{of}: {differ}", (row, other))
            elif not across and row != rows[0]:
                kind = "exact copy" if first[row] == first[rows[0]] else "near copy"
                yield Finding(*details, kind, f"of {faces.names[rows[0]]}", (row, int(rows[0])))


def _differ(labels: dict[str, np.ndarray], rows: np.ndarray) -> str:
    """What copies are labelled differently by; nothing where they agree."""
    if "votes" in labels:
        kinds_seen = np.unique(labels["votes"][rows].argmax(axis=1))
        words = classes.names(labels["votes"].shape[1])
        return " or ".join(words[kind] for kind in kinds_seen) if len(kinds_seen) > 1 else ""
    differences = []
    if "gender" in labels and np.ptp(labels["gender"][rows]):
        differences.append("man or woman")
    if "age" in labels and np.ptp(labels["age"][rows]) > SAME_AGE:
        differences.append(f"{labels['age'][rows].min()} or {labels['age'][rows].max()} years")
    return ", ".join(differences)


def _claim(recipe: Recipe, located: Located, splits: np.ndarray, fold_of: np.ndarray, folder: Path) -> None:
    """Keep what the fits of _out_of_fold are made with, or refuse others than were made there before."""
    for fold in range(FOLDS):
        names = names_digest(_fitted_to(located, splits, fold_of != fold))
        claim(folder / f"{recipe.task}-{fold}", settings_of(recipe) | {"names": names})


def _fitted_to(located: Located, splits: np.ndarray, outside: np.ndarray) -> Located:
    """Those of `train` outside a fold."""
    return taken(located, outside & (splits == "train"))


def _out_of_fold(
    recipe: Recipe, located: Located, splits: np.ndarray, fold_of: np.ndarray, folder: Path
) -> np.ndarray:
    """What networks that were fitted to other pictures say of each.

    Args:
        splits: (n,) of SPLITS.
        fold_of: (n,) int, 0 to FOLDS - 1.

    Returns:
        (n, classes) probabilities for emotion, (n, 2) for gender, (n, 117) for age.
    """
    name, task = recipe.task, task_of(recipe)
    said = None
    for fold in range(FOLDS):
        inside = fold_of == fold
        path = folder / f"{name}-{fold}"
        others, part = _fitted_to(located, splits, ~inside), taken(located, inside)
        if not (path / "logits.npy").exists():
            keras.utils.set_random_seed(fold)
            with precision(recipe.precision):
                network = build(recipe, task)
            batches = crops(task, others, class_weights(kinds(name, others[0].labels)), "mid", fold)
            watched = taken(part, slice(500))  # only shown
            fit(
                network,
                batches,
                crops(task, watched),
                task.losses,
                task.metrics,
                recipe.epochs,
                path,
                task.peak_rate,
            )
            with whole(path / "logits.npy") as file:
                np.save(file, answers(network, task, part))
        told = probabilities(name, np.load(path / "logits.npy"))
        if name == "gender":
            told = np.hstack([1 - told, told])
        said = np.zeros((len(fold_of), told.shape[1])) if said is None else said
        said[inside] = told
    return said


def _doubtful(task: str, faces: Faces, splits: np.ndarray, said: np.ndarray) -> Iterator[Finding]:
    """Labels not believed: ages that are far off; others by confident learning (Northcutt et al. 2021)."""
    if task == "age":
        guessed = age_quantile(np.log(said + 1e-12), 0.5)
        errors = np.abs(guessed - faces.labels["age"])
        doubt = errors / (DOUBTED_YEARS + DOUBTED_SHARE * guessed)
        for row in np.flatnonzero(doubt > 1).tolist():
            detail = f"{faces.labels['age'][row]} years, rather {guessed[row]:.0f}"
            yield Finding(splits[row], faces.names[row], "doubtful label", detail, (row,), -doubt[row])
        return
    words = classes.names(said.shape[1]) if task == "emotion" else GENDERS
    given = kinds(task, faces.labels)
    clear = np.flatnonzero(unique_majority(faces.labels["votes"]) if task == "emotion" else given >= 0)
    present, numbers = np.unique(given[clear], return_inverse=True)
    if len(present) < 2:  # no other class to take one for, which cleanlab warns of
        return
    issues = find_label_issues(
        numbers, _normalized(said[clear][:, present]), filter_by="both",
        return_indices_ranked_by="self_confidence", n_jobs=1,
    )  # fmt: skip
    for row in clear[issues].tolist():
        best = int(said[row].argmax())
        detail = (
            f"{words[given[row]]} {said[row, given[row]]:.0%}, rather {words[best]} {said[row, best]:.0%}"
        )
        yield Finding(splits[row], faces.names[row], "doubtful label", detail, (row,), said[row, given[row]])


def _normalized(rows: np.ndarray) -> np.ndarray:
    return rows / rows.sum(axis=1, keepdims=True)


def _write(
    faces: Faces,
    splits: np.ndarray,
    findings: list[Finding],
    doubted: list[str],
    balance: dict[str, tuple],
    folder: Path,
) -> str:
    """findings.csv, clean.txt, the sheets and report.md; the last is returned.

    Args:
        balance: of _balance.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {kind: sorted((f for f in findings if f.kind == kind), key=lambda f: f.score) for kind in DROPPED}
    with (folder / "findings.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("split", "name", "kind", "detail"))
        rows.writerows((f.split, f.name, f.kind, f.detail) for kind in DROPPED for f in found[kind])
    dropped = {f.name for f in findings if DROPPED[f.kind] and f.split == "train"}
    left = [name for name in faces.names[splits == "train"].tolist() if name not in dropped]
    with whole(folder / "clean.txt") as part:
        part.write_text("".join(f"{name}\n" for name in left))
    for kind in DROPPED:
        shown = [(f, row) for f in found[kind][:SHOWN] for row in f.rows]
        sheet = folder / f"{kind.replace(' ', '-')}.png"
        sheet.unlink(missing_ok=True)
        if shown:
            words = [
                f"{faces.names[row][:40]} {f.detail if row == f.rows[0] else '(the copy)'}"
                for f, row in shown
            ]
            write_sheet(sheet, [faces.images[row] for _, row in shown], words)
    report = _report(splits, found, doubted, balance, len(left))
    (folder / "report.md").write_text(report)
    return report


def _report(
    splits: np.ndarray,
    found: dict[str, list[Finding]],
    doubted: list[str],
    balance: dict[str, tuple],
    left: int,
) -> str:
    counts = {split: int((splits == split).sum()) for split in SPLITS}
    rows = [
        (
            kind,
            *(len({f.name for f in found[kind] if f.split == split}) for split in SPLITS),
            "yes" if DROPPED[kind] else "no",
        )
        for kind in DROPPED
    ]
    sections = [
        f"{counts['train']:,} pictures in train, of which {left:,} are clean; {counts['valid']:,} in valid."
        f" Labels doubted: {', '.join(doubted) or 'none'}.",
        table(("finding", *SPLITS, "left out of clean.txt"), rows),
    ]
    for title, (names, numbers) in balance.items():
        rows = [
            (name, *(int((numbers[splits == split] == number).sum()) for split in SPLITS))
            for number, name in enumerate(names)
        ]
        sections.append(table((title, *SPLITS), rows))
    return "\n\n".join(sections) + "\n"


def _balance(labels: dict[str, np.ndarray], bands: tuple[int, ...]) -> dict[str, tuple]:
    """Names of classes and (n,) numbers of each picture's, by what they tell."""
    told = {}
    if "votes" in labels:
        told["emotion"] = classes.names(labels["votes"].shape[1]), kinds("emotion", labels)
    if "gender" in labels:
        told["gender"] = GENDERS, labels["gender"]
    if "age" in labels:
        told["age"] = band_names(bands), np.digitize(labels["age"], bands) - 1
    return told
