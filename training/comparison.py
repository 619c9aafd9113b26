"""What the model cards tell of fits that are not shipped: networks fitted alike, and single ones."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from training.cards import write_cards
from training.experiment import Recipe, ingredients, run, settings_of, unusual
from training.export import read_figures, write_figures

OWN = ("task", "network", "pretrained")  # parts of a recipe that those in one table need not have in common
USUAL = ("side", "peak_rate")  # which are each network's own, where the recipe does not tell
SHOWN = {  # figures of the reports
    "emotion": ("accuracy", "balanced_accuracy", "macro_f1"),
    "gender": ("accuracy", "balanced_accuracy", "macro_f1"),
    "age": ("all", "band_accuracy"),
}


def compare(recipe: Recipe, networks: Sequence[str], data: Path, folder: Path, weights: Path) -> None:
    """Fit each network; write its figures on `valid` into weights/comparison.json and the cards as they come.

    What was fitted before is only read; what was compared before by another recipe, with other pictures, or
    when its augmentation, its clean list or its network's own side or rate was another, is dropped. A network
    whose loss does not stay finite is left out.

    Raises:
        FloatingPointError: at the end, where there was one.
        ValueError: one of them can't be fitted by the recipe.
    """
    for network in networks:
        _usual(recipe, network)  # refuses what can't be fitted before the first is
    common = {key: value for key, value in asdict(recipe).items() if key not in OWN}
    made = {"recipe": common} | ingredients(recipe)
    known = read_figures("comparison", weights).get(recipe.task, {})
    alike = {key: known.get(key) for key in made} == made
    rows = {
        network: row
        for network, row in (known["networks"] if alike else {}).items()
        if {key: row.get(key) for key in USUAL} == _usual(recipe, network)
    }
    diverged = []
    for network in networks:
        try:
            record = run(replace(recipe, network=network), data, folder / network)
        except FloatingPointError:
            diverged.append(network)
            continue
        told = _told(record) | _usual(recipe, network) | {"pictures": record.get("pictures")}
        if other := [key for key, row in rows.items() if row.get("pictures") != told["pictures"]]:
            print(f"no longer compared, as fitted to other pictures than {network}: {', '.join(other)}")
        rows = {key: row for key, row in rows.items() if key not in other}
        rows[network] = told
        compared = {recipe.task: made | {"networks": rows}}
        # Read anew, as another task may be compared meanwhile.
        write_figures("comparison", read_figures("comparison", weights) | compared, weights)
        write_cards(weights)
    if diverged:
        raise FloatingPointError(f"the loss of {', '.join(diverged)} did not stay finite: lower --peak-rate")


def publish(name: str, record: dict, weights: Path) -> None:
    """Write the figures of one fit into weights/others.json and the cards.

    Args:
        name: that it is told by.
        record: as of experiment.run.
    """
    task = record["recipe"]["task"]
    recipe = Recipe(**record["recipe"])
    told = _told(record) | ingredients(recipe) | {"task": task, "options": unusual(record["recipe"], task)}
    write_figures("others", read_figures("others", weights) | {name: told}, weights)
    write_cards(weights)


def _usual(recipe: Recipe, network: str) -> dict:
    """A network's side and rate."""
    settings = settings_of(replace(recipe, network=network))
    return {key: settings[key] for key in USUAL}


def _told(record: dict) -> dict:
    return {
        "parameters": record["parameters"],
        "faces": record["faces"],
        "valid": {key: record["valid"][key] for key in SHOWN[record["recipe"]["task"]]},
    }
