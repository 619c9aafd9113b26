"""The evaluation as a report: one Markdown file, its plots, and sheets of the worst mistakes.

It is for looking at here: the sheets hold faces of the data sets, which may not be handed on. The figures
that may be are in weights/, in the records and in the model cards that begin the report.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only; no screen is needed

import numpy as np
from matplotlib import pyplot
from sklearn.metrics import roc_curve

from inference.decoding import decode_age, sigmoid, softmax
from inference.faces import EMOTIONS
from training.cards import cards
from training.data import Faces, unique_majority
from training.evaluation import GENDERS, confidence_bins
from training.export import FIGURES, read_figures, read_records
from training.sheets import write_sheet

MISTAKES = 60  # on a sheet
DPI = 110


def write_report(measured: dict[str, tuple[Faces, np.ndarray]], weights: Path, folder: Path) -> None:
    """Write folder/report.md with its pictures.

    Args:
        measured: by model, the faces of `valid` and the (n, outputs) logits for them.
        weights: folder of the records.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = read_records(weights)
    sections = [cards(records, *(read_figures(name, weights) for name in FIGURES)), "# Pictures\n"]
    for name, (faces, logits) in measured.items():
        pictures = DRAW[name](faces, logits, records[name], folder)
        links = "\n\n".join(f"![{title}]({file})" for title, file in pictures.items())
        sections.append(f"## {name.capitalize()}\n\n{links}\n")
    (folder / "report.md").write_text("\n".join(sections))


def _emotion(faces: Faces, logits: np.ndarray, record: dict, folder: Path) -> dict[str, str]:
    clear = np.flatnonzero(unique_majority(faces.labels["votes"]))
    truth = faces.labels["votes"][clear].argmax(axis=1)
    said = softmax(logits[clear], record["calibration"]["temperature"])
    return {
        "Confusion of emotions": _confusion(
            record["valid"]["confusion"], EMOTIONS, folder / "emotion-confusion.png"
        ),
        "Confusion with FER2013's own labels": _confusion(
            record["valid"]["against_original_labels"]["confusion"], EMOTIONS, folder / "emotion-original.png"
        ),
        "ROC, each emotion against the rest": _roc(
            {name: (truth == row, said[:, row]) for row, name in enumerate(EMOTIONS)},
            folder / "emotion-roc.png",
        ),
        "Confidence and accuracy": _reliability(
            said.max(axis=1), said.argmax(axis=1) == truth, folder / "emotion-calibration.png"
        ),
        "Surest mistakes": _class_mistakes(
            faces, clear, truth, said, EMOTIONS, folder / "emotion-mistakes.png"
        ),
    }


def _gender(faces: Faces, logits: np.ndarray, record: dict, folder: Path) -> dict[str, str]:
    truth = faces.labels["gender"]
    females = sigmoid(logits[:, 0], record["calibration"]["temperature"])
    said = np.stack([1 - females, females], axis=1)
    rows = np.arange(len(faces))
    return {
        "Confusion of genders": _confusion(
            record["valid"]["confusion"], GENDERS, folder / "gender-confusion.png"
        ),
        "ROC": _roc({"female": (truth == 1, females)}, folder / "gender-roc.png"),
        "Confidence and accuracy": _reliability(
            said.max(axis=1), said.argmax(axis=1) == truth, folder / "gender-calibration.png"
        ),
        "Accuracy by group": _groups(record["valid"], "share", "accuracy", folder / "gender-groups.png"),
        "Surest mistakes": _class_mistakes(faces, rows, truth, said, GENDERS, folder / "gender-mistakes.png"),
    }


def _age(faces: Faces, logits: np.ndarray, record: dict, folder: Path) -> dict[str, str]:
    ages = faces.labels["age"]
    years, low, high = decode_age(logits, record["calibration"]["tail"])
    worst = np.abs(years - ages).argsort()[::-1][:MISTAKES]
    words = [f"{ages[row]}, told {years[row]:.0f} ({low[row]:.0f}-{high[row]:.0f})" for row in worst]
    write_sheet(folder / "age-mistakes.png", [faces.images[row] for row in worst], words)
    return {
        "Ages told of true ages": _ages(ages, years, folder / "age-scatter.png"),
        "Error by group, years": _groups(
            record["valid"], "mae", "mean absolute error, years", folder / "age-groups.png"
        ),
        "Largest mistakes": "age-mistakes.png",
    }


DRAW = {"emotion": _emotion, "gender": _gender, "age": _age}


def _confusion(counts: list[list[int]], names: tuple[str, ...], path: Path) -> str:
    """Counts, colored by their share of the true class."""
    counts = np.array(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = pyplot.subplots(figsize=(1.6 + 0.8 * len(names),) * 2)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts[row, column]}\n{share:.0%}"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=8, color="white" if share > 0.5 else "black"
        )
    axes.set(xlabel="told", ylabel="true", xticks=range(len(names)), yticks=range(len(names)))
    axes.set_xticklabels(names, rotation=45, ha="right")
    axes.set_yticklabels(names)
    return _save(figure, path)


def _roc(classes: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> str:
    """A curve for each class that has faces and is not all there is."""
    figure, axes = pyplot.subplots(figsize=(5, 5))
    for name, (truth, scores) in classes.items():
        if truth.any() and not truth.all():
            false, true, _ = roc_curve(truth, scores)
            axes.plot(false, true, label=name)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set(xlabel="others called so", ylabel="found")
    axes.legend()
    return _save(figure, path)


def _reliability(confidence: np.ndarray, correct: np.ndarray, path: Path) -> str:
    """How often an answer of each confidence is right, by the bins of the calibration error."""
    bins = confidence_bins(confidence)
    present = np.unique(bins)
    figure, axes = pyplot.subplots(figsize=(5, 5))
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.plot(
        [confidence[bins == row].mean() for row in present],
        [correct[bins == row].mean() for row in present],
        marker="o",
    )
    axes.set(xlabel="confidence", ylabel="share right")
    return _save(figure, path)


def _groups(report: dict, figure_of: str, label: str, path: Path) -> str:
    """One figure of every group with its interval."""
    rows = {
        f"{name} {'years' if key == 'by_age' else ''}".strip(): row
        for key in ("by_age", "by_gender", "by_race")
        for name, row in report.get(key, {}).items()
        if row["low"] is not None  # a single face has no interval
    }
    values = np.array([(row[figure_of], row["low"], row["high"]) for row in rows.values()]).reshape(-1, 3)
    figure, axes = pyplot.subplots(figsize=(6, 1 + 0.3 * len(rows)))
    axes.errorbar(values[:, 0], range(len(rows)), xerr=np.abs(values[:, 1:] - values[:, :1]).T, fmt="o")
    axes.set(xlabel=label, yticks=range(len(rows)))
    axes.set_yticklabels(rows)
    axes.invert_yaxis()
    return _save(figure, path)


def _ages(ages: np.ndarray, years: np.ndarray, path: Path) -> str:
    figure, axes = pyplot.subplots(figsize=(5, 5))
    axes.plot([0, 116], [0, 116], color="grey", linestyle=":")
    axes.scatter(ages, years, s=4, alpha=0.4)
    axes.set(xlabel="true age", ylabel="age told")
    return _save(figure, path)


def _save(figure, path: Path) -> str:
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)
    return path.name


def _class_mistakes(
    faces: Faces, rows: np.ndarray, truth: np.ndarray, said: np.ndarray, names: tuple[str, ...], path: Path
) -> str:
    """A sheet of the wrong answers that were the surest."""
    told = said.argmax(axis=1)
    wrong = np.flatnonzero(told != truth)
    worst = wrong[said[wrong, told[wrong]].argsort()[::-1]][:MISTAKES]
    words = [f"{names[truth[row]]}, told {names[told[row]]} {said[row, told[row]]:.0%}" for row in worst]
    write_sheet(path, [faces.images[rows[row]] for row in worst], words)
    return path.name
