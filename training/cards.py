"""The model cards, weights/README.md, written from the records: what was measured is not typed by hand."""

from collections.abc import Callable
from pathlib import Path

from inference.faces import EMOTIONS, MIRRORED_FACES
from training.experiment import NETWORKS, unusual
from training.export import FIGURES, read_figures, read_records
from training.fitting import digest
from training.tasks import TASKS

AGE_COLUMNS = "group", "mean absolute error", "median", "right band", "inside range", "mean width", "faces"
INTRODUCTION = """\
# Model cards

Written by `python -m training`; edit `training/cards.py`, not this file.

Two small residual networks read a face that the detector found and `inference/alignment.py` turned
and cut. Every figure of their cards was measured on the `valid` split, by `python -m training evaluate`.
{unseen}Design choices were made with it in view: on other photos expect less. Brackets hold 95 % intervals:
Wilson's for shares, bootstrap for errors.
"""
UNSEEN = "No model was fitted to it, nor were temperatures or ranges set on it.\n"

SHARED = """\
## Data, split and licence

| set | used for | terms |
|---|---|---|
| FER2013 (Goodfellow et al. 2013), 48 x 48 grey | emotion, pictures | released for the ICML 2013 challenge |
| FER+ (Barsoum et al. 2016), ten votes a picture | emotion, labels | MIT |
| UTKFace (Zhang et al. 2017), aligned and cropped | gender, age | non-commercial research only |

**The terms of the pictures bear on the models too: ask a lawyer before any commercial use.** No picture of
these sets is in this repository.

- FER2013: fitted on the official `Training` usage, measured on `PublicTest`; on `PrivateTest` no model was
  fitted or measured. Of the others, 594 pictures that are pixel copies of a `PrivateTest` one were taken out
  when the folders were made; `fer2013.csv` still has them.
  Pictures of which no emotion has more FER+ votes than each of contempt, unknown and not a face are left out
  of fitting.
  One in ten of the `PublicTest` pictures has a copy in `Training` (`python -m training inspect fer2013`),
  which flatters every work that uses these splits; the card above tells the accuracy without them.
- UTKFace has no official split. Ours keeps copies of one photo on one side, by a perceptual hash, which
  misses some that were cropped or toned anew; the cards above tell the figures without them. A tenth of the
  set was kept out of both sides. Which pictures are where is not in this repository: who divides the set anew
  measures these models on some that they were fitted to, and is told so.
- 5 % of the training faces, chosen by a hash of their names, are kept from fitting. Temperatures and age
  ranges are set on them and on nothing else, but for those that have a near copy among the faces fitted to.

## Limits

- Emotion is what a face *shows* to ten strangers on the web, not what its owner feels. Posed and
  exaggerated faces are overrepresented, disgust and fear are rare, and voters themselves often disagree.
- Gender is how a face *reads*. The data knows two labels only; it says nothing of who a person is, and
  for small children the label is little more than a guess.
- Age is apparent age. UTKFace's labels are themselves estimates (of the DEX network, checked by a
  person), and the old are few.
- Groups differ: see the tables. `race` is UTKFace's own crude label, used here to show differences, never
  predicted.
- Faces that are covered, far away or grainy are read less well: see the tables of conditions, of
  which sunglasses and masks are drawn, as the data sets have hardly any. Of profiles and of blurred faces
  there is no figure.

## Not to be used for

- identifying anyone: the models cannot tell persons apart, and must not be built into something that does;
- decisions about people: hiring, credit, insurance, schooling, policing, border control, proof of age,
  health, advertising by guessed trait;
- watching people who did not agree to it, or reading emotions at work or in schools, which the law
  of the European Union forbids (Regulation 2024/1689, article 5).

## Making them again

    pip install -r requirements-dev.txt
{commands}
    python -m training evaluate --data DIR

DIR holds `fer2013/{{train,valid}}/CLASS/*.png` (or `fer2013/fer2013.csv`) with `fer2013/fer2013new.csv` of
FER+, and `utkface/{{train,valid}}/*.jpg`. The last command only measures. A stopped run goes on where it was.
{kept}{remark}"""

STRANGE = "**It was fitted to other pictures than `train`, and may have seen some that it is measured on.**"
LONGER = " The shipped model, above,\nwas fitted for longer; this table compares networks."
KEPT = """\
FIT{number} is a copy of `weights`, made when fit {number} of its card was the last, and so on.
"""
MODELS = """\
MODEL1 and so on are folders with models that were made by such commands, too; the records beside these cards
tell the fits of each.
"""
REMARK = """\
A first command makes all fits up to the first of its own name with one seed; those that led to the models
above had the seeds that their cards tell, and came out alike but not the same.
"""


def write_cards(weights: Path) -> None:
    """Write weights/README.md from the records in the same folder."""
    text = cards(read_records(weights), *(read_figures(name, weights) for name in FIGURES))
    (weights / "README.md").write_text(text)


def cards(records: dict[str, dict], comparison: dict[str, dict], others: dict[str, dict]) -> str:
    """Markdown of all cards; a model without a record has none.

    Args:
        records: as training.export.read_records gives them.
        comparison, others: as read_figures does.
    """
    sections = [SECTIONS[name](record) for name, record in records.items()]
    sections += [_comparison(name, compared, records.get(name)) for name, compared in comparison.items()]
    sections += [_others(others)] if others else []
    remark = REMARK if any(map(_seeds_differ, records.values())) else ""
    fits = [fit for record in records.values() for fit in record["trained"]["fits"]]
    averages = [fit["of"] for fit in fits if "of" in fit]
    kept = KEPT.format(number=averages[0][0]) if averages else ""
    kept += MODELS if any("ensemble" in fit for fit in fits) else ""
    shared = SHARED.format(commands=_commands(records), kept=kept, remark=remark)
    strange = any(record["valid"].get("other_pictures") for record in records.values())
    introduction = INTRODUCTION.format(unseen="" if strange else UNSEEN)
    return "\n".join([introduction, *sections, shared])


def _emotion(record: dict) -> str:
    valid = record["valid"]
    rows = [
        (name, _percent(row["recall"]), f"{row['precision']:.1%}", f"{row['f1']:.3f}", row["recall"]["faces"])
        for name, row in valid["by_emotion"].items()
    ]
    confusion = [(name, *counts) for name, counts in zip(EMOTIONS, valid["confusion"], strict=True)]
    return f"""\
## Emotion

{_making(record)}

Learns the share of FER+ votes of each emotion, rarer emotions weighted up. Right means: the emotion, of these
seven, that most voters chose. {valid["ties_left_out"]} pictures on which voters tie are left out.

| figure | value |
|---|---|
| accuracy | {_percent(valid["accuracy"])} of {valid["accuracy"]["faces"]} faces |
{_headlines(valid, "accuracy", _percent)}
{_means(valid)}
| area under the ROC curve, mean of one against the rest | {_area_between(valid)} |
| accuracy against FER2013's own, noisier labels | {_percent(valid["against_original_labels"]["accuracy"])} |
{_calibration(record)}

{table(("emotion", "recall", "precision", "F1", "faces"), rows)}

Faces by emotion (row) and answer (column):

{table(("", *EMOTIONS), confusion)}

{_conditions(valid, "accuracy", _percent)}
"""


def _gender(record: dict) -> str:
    valid = record["valid"]
    groups = valid["by_gender"] | valid["by_race"] | _with_unit(valid["by_age"])
    rows = [
        (
            name,
            _percent(row),
            *("" if row[key] is None else f"{row[key]:.3f}" for key in ("balanced_accuracy", "macro_f1")),
            _area(row, ""),
            f"{row['calibration_error']:.3f}",
            row["faces"],
        )
        for name, row in groups.items()
    ]
    return f"""\
## Gender

{_making(record)}

Right means: UTKFace's label.

| figure | value |
|---|---|
| accuracy | {_percent(valid["accuracy"])} of {valid["accuracy"]["faces"]} faces |
{_headlines(valid, "accuracy", _percent)}
{_means(valid)}
| area under the ROC curve | {_area_between(valid)} |
{_calibration(record)}

{table(("group", "accuracy", "balanced", "macro F1", "ROC area", "calibration error", "faces"), rows)}

{_conditions(valid, "accuracy", _percent)}
"""


def _age(record: dict) -> str:
    valid = record["valid"]
    groups = {"all": valid["all"]} | valid["by_gender"] | valid["by_race"] | _with_unit(valid["by_age"])
    rows = [
        (
            name,
            _years(row),
            f"{row['median']:.2f}",
            f"{row['band_accuracy']['share']:.1%}",
            _percent(row["inside"]),
            f"{row['width']:.1f}",
            row["faces"],
        )
        for name, row in groups.items()
    ]
    return f"""\
## Age

{_making(record)}

Learns a distribution over the years 0 to 116. The age told is its median. The range leaves out
{record["calibration"]["tail"]:.1%} on each side, so that in whole years, as it is told, it holds
the true age of about 80 % of faces.

| figure | value |
|---|---|
| mean absolute error | {_years(valid["all"])} years |
{_headlines(valid, "all", _years)}
| 21-60 years alone, years | {_years(valid["adults"])} |
| median error | {valid["all"]["median"]:.2f} years |
| within 5 years | {_percent(valid["within_5_years"])} |
| right band of 0-20, 21-40, 41-60, 61-80, 81+ years | {_percent(valid["band_accuracy"])} |
| true age inside the range told | {_percent(valid["all"]["inside"])} |
| mean width of that range | {valid["all"]["width"]:.1f} years |

{table(AGE_COLUMNS, rows)}

{_conditions(valid, "mean absolute error, years", _years)}
"""


TITLES = {  # and words of the reports' figures that are compared
    "accuracy": ("accuracy", lambda value: _percent(value)),
    "balanced_accuracy": ("balanced accuracy", lambda value: f"{value:.1%}"),
    "macro_f1": ("macro F1", lambda value: f"{value:.3f}"),
    "all": ("mean absolute error, years", lambda value: _years(value)),
    "band_accuracy": ("right band of about 20 years", lambda value: _percent(value)),
}


def _comparison(name: str, compared: dict, record: dict | None) -> str:
    """Ours and the baselines of one task.

    Args:
        record: of the shipped model, where there is one.
    """
    recipe, networks = compared["recipe"], compared["networks"]
    shown = [key for key in TITLES if key in next(iter(networks.values()))["valid"]]
    rows = [
        (f"`{network}`", f"{row['parameters']:,}", *(TITLES[key][1](row["valid"][key]) for key in shown))
        for network, row in sorted(networks.items(), key=lambda pair: NETWORKS.index(pair[0]))
    ]
    fitted = next(iter(networks.values()))["faces"]["fitted"]
    special = unusual(recipe, name)
    special.pop("epochs", None)  # told in any case
    epochs = sum(fit.get("epochs", 0) for fit in record["trained"]["fits"]) if record else 0
    longer = LONGER if epochs > recipe["epochs"] else ""
    return f"""\
## {name.capitalize()}: ours and others, trained alike

Our network, `residual`, and the baselines of `training/baselines.py` that have been fitted so far
({len(networks)} of {len(NETWORKS)}), each from scratch to the same {fitted:,} faces by
`python -m training compare {name}{_options(special)} --epochs {recipe["epochs"]}`.{longer}

{table(("network", "parameters", *(TITLES[key][0] for key in shown)), rows)}
"""


def _others(others: dict[str, dict]) -> str:
    """Fits that are told for comparison."""
    rows = [
        (
            f"`fit {fit['task']}{_options(fit['options'])}`",
            f"{fit['parameters']:,}",
            "; ".join(f"{TITLES[key][0]} {TITLES[key][1](value)}" for key, value in fit["valid"].items())
            + _beginning(fit),
        )
        for fit in others.values()
    ]
    return f"""\
## Fits that are not shipped

By `python -m training`, with `--publish`; each is measured on the labels of its own data set.

{table(("fit", "parameters", "on `valid`"), rows)}
"""


def _beginning(fit: dict) -> str:
    """A word on a model that a fit began with, where another is in its place by now."""
    path = Path(fit["options"].get("pretrained", ""))
    if not path.is_file() or digest(path.read_bytes()) == fit.get("begun with"):
        return ""
    return f"; begun with what `{path}` was before"


def _options(options: dict) -> str:
    """As on the command line."""
    return "".join(f" --{key.replace('_', '-')} {value}" for key, value in options.items())


SECTIONS = {"emotion": _emotion, "gender": _gender, "age": _age}


def _making(record: dict) -> str:
    trained, faces = record["trained"], record["trained"]["faces"]
    colors = "grey" if record["channels"] == 1 else "RGB"
    fits = ", then ".join(_fit(fit, record["side"]) for fit in trained["fits"])
    strange = f" {STRANGE}" if record["valid"].get("other_pictures") else ""
    shared = ", one for gender and age," if record["network"] != record["task"] else " of"
    return f"""\
Residual network{shared} {record["parameters"]:,} parameters, {record["side"]} x {record["side"]} {colors} \
crops. Fitted to {faces["fitted"]:,} faces on {trained["date"]}: {fits}; \
Keras {trained["keras"]} on {trained["backend"]}. \
Calibrated on {faces["calibration"]:,} others.{strange}"""


def _fit(fit: dict, side: int) -> str:
    if "of" in fit:
        return f"the mean of what {_numbers(fit)} left"
    made = [f"`{fit['task']}`", f"augmentation `{fit['augmentation']}`", f"seed {fit['seed']}"]
    made += [f"crops of {fit['side']} pixels"] if fit.get("side", side) != side else []
    made += [f"rare classes weighing more by a power of {fit['rarity']}"] if "rarity" in fit else []
    made += [f"to the faces of `{fit['clean']}`"] if "clean" in fit else []
    made += [f"in {fit['precision']}"] if "precision" in fit else []
    made += [f"on {fit['backend']}"] if "backend" in fit else []
    made += [f"{fit['share']:.0%} of its targets from {_source(fit)}"] if "share" in fit else []
    made += [f"{fit['blended']:.0%} of it mixed with what it started from"] if "blended" in fit else []
    return f"{fit['epochs']} epochs ({', '.join(made)})"


def _source(fit: dict) -> str:
    """Whom a fit learnt from."""
    if "teachers" in fit:
        return "larger networks that had not seen the face"
    return f"an ensemble of {len(fit['ensemble'])} models like it"


def _numbers(fit: dict) -> str:
    """Which fits' models an average is made of."""
    *most, last = fit["of"]
    return f"fits {', '.join(map(str, most))} and {last}"


def _commands(records: dict[str, dict]) -> str:
    """The commands by which models like these are made: one for all fits that lead to a network, and one
    for each time that it was gone on with."""
    networks = {record["network"]: record["trained"] for record in records.values()}
    lines = []
    for network, trained in networks.items():
        task = TASKS[network]
        usual = {"epochs": task.epochs, "augmentation": task.augmentation, "side": task.side}
        number = 0
        for fit in trained["fits"]:
            if "of" in fit:
                kept = " ".join(f"FIT{place}" for place in fit["of"])
                lines.append(f"    python -m training average {network} {kept} --data DIR")
            if fit["task"] != network:
                continue
            options = {"data": "DIR", "seed": fit["seed"]}
            options |= {"start": "weights", "runs": f"runs/again-{number}"} if number else {}
            options |= {key: fit[key] for key, value in usual.items() if fit.get(key, value) != value}
            options |= {key: fit[key] for key in ("rarity", "clean", "precision") if key in fit}
            options |= {"blend": fit["blended"]} if "blended" in fit else {}
            options |= _lesson(network, fit)
            lines += _teachers(network, fit, lines)
            lines.append(f"    python -m training {network}{_options(options)}")
            number += 1
    return "\n".join(lines)


def _lesson(network: str, fit: dict) -> dict:
    """The options of a fit that learnt from teachers or models."""
    if "share" not in fit:
        return {}
    if "ensemble" in fit:
        folders = " ".join(f"MODEL{number}" for number, _ in enumerate(fit["ensemble"], 1))
        return {"ensemble": folders, "share": fit["share"]}
    folders = " ".join(f"runs/teachers-{network}-{made['seed']}" for made in fit["teachers"])
    return {"teachers": folders, "share": fit["share"]}


def _teachers(network: str, fit: dict, lines: list[str]) -> list[str]:
    """The commands that make a fit's teachers, but those that are among `lines`."""
    made = [
        f"    python -m training teachers {network}{_options({'data': 'DIR'} | teachers)}"
        for teachers in fit.get("teachers", [])
    ]
    return [line for line in made if line not in lines]


def _seeds_differ(record: dict) -> bool:
    """Whether one command can't make the first fits again, up to the first of the network's own name."""
    fits = record["trained"]["fits"]
    own = [fit["task"] for fit in fits].index(record["network"])
    return len({fit["seed"] for fit in fits[: own + 1]}) > 1


def _headlines(valid: dict, name: str, words: Callable[[dict], str]) -> str:
    """The headline figure without what flatters it."""
    title = f"without mirror images, as in photos of more than {MIRRORED_FACES} faces"
    rows = {title: words(valid["one_look"])}
    if apart := valid["without_copies"]:
        copies = valid[name]["faces"] - apart["faces"]
        rows[f"without the {copies} faces that have a copy among those fitted to"] = words(apart)
    return "\n".join(f"| &nbsp; {title} | {value} |" for title, value in rows.items())


def _conditions(valid: dict, figure: str, words: Callable[[dict], str]) -> str:
    """The headline figure of the same faces in conditions that people's photos have."""
    rows = [(condition, words(row)) for condition, row in valid["conditions"].items()]
    return f"""\
The same faces as photos may have them, drawn or changed by `training/conditions.py`, and cut as before:

{table(("faces", figure), rows)}"""


def _means(valid: dict) -> str:
    """Means over the classes, with their intervals."""
    titles = {"balanced_accuracy": "balanced accuracy (mean recall)", "macro_precision": "macro precision"}
    titles |= {"macro_f1": "macro F1"}
    rows = [(title, valid[key], *valid["intervals"][key]) for key, title in titles.items()]
    return "\n".join(f"| {title} | {mean:.3f} ({low:.3f} to {high:.3f}) |" for title, mean, low, high in rows)


def _calibration(record: dict) -> str:
    error, temperature = record["valid"]["calibration_error"], record["calibration"]["temperature"]
    return f"""\
| expected calibration error, raw | {error["before"]:.3f} |
| expected calibration error at the temperature used, {temperature:.2f} | {error["after"]:.3f} |"""


def _with_unit(by_age: dict[str, dict]) -> dict[str, dict]:
    return {f"{name} years": row for name, row in by_age.items()}


def _area(report: dict, missing: str = "none, of one class") -> str:
    return missing if report["roc_auc"] is None else f"{report['roc_auc']:.3f}"


def _area_between(report: dict) -> str:
    """With its interval."""
    area, interval = _area(report), report["intervals"]["roc_auc"]
    return f"{area} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else area


def _percent(share: dict) -> str:
    return f"{share['share']:.1%} ({share['low']:.1%} to {share['high']:.1%})"


def _years(error: dict | None) -> str:
    if error is None:
        return "no such faces"
    interval = f" ({error['low']:.2f} to {error['high']:.2f})" if error["low"] is not None else ""
    return f"{error['mae']:.2f}{interval}"


def table(head: tuple, rows: list[tuple]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
