"""Ours and the baselines, fitted by one recipe on one split, for the table in the model cards."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from training.experiment import Recipe, run
from training.export import read_comparison, write_comparison

COMMON = ("epochs", "augmentation", "balance", "schedule", "seed", "precision")  # told in the table
FIGURES = {  # of the reports, that the table shows
    "emotion": ("accuracy", "balanced_accuracy", "macro_f1"),
    "gender": ("accuracy", "balanced_accuracy", "macro_f1"),
    "age": ("all", "median_error", "band_accuracy"),
}


def compare(recipe: Recipe, networks: Iterable[str], data: Path, folder: Path, weights: Path) -> None:
    """Fit each network and write its figures on `valid` into weights/comparison.json as they come.

    What was fitted before is only read; what was compared before by another recipe is dropped.
    """
    comparison = read_comparison(weights)
    common = {key: value for key, value in asdict(recipe).items() if key in COMMON}
    if comparison.get(recipe.task, {}).get("recipe") != common:
        comparison[recipe.task] = {"recipe": common, "networks": {}}
    weights.mkdir(parents=True, exist_ok=True)
    for network in networks:
        record = run(replace(recipe, network=network, pretrained=None), data, folder / network)
        comparison[recipe.task]["networks"][network] = {
            "parameters": record["parameters"],
            "faces": record["faces"],
            "seconds": record["seconds"],
            "valid": {key: record["valid"][key] for key in FIGURES[recipe.task]},
        }
        write_comparison(comparison, weights)
