"""How long tune, evaluate and score take, at the real size: 1,372 images of 1024 x 1024, 12,047 rows of annotations."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ruamel.yaml import YAML

from pneumoseg.config.tune import TuneParams
from pneumoseg.evaluate.distances import surface_distances
from pneumoseg.evaluate.instances import match_instances
from pneumoseg.evaluate.scoring import read_masks, score_masks
from pneumoseg.rule.cases import Case
from pneumoseg.rule.decision import DecisionRule, Level
from pneumoseg.rule.level_counts import Cleaning, LevelCounts, count_levels
from pneumoseg.shared.files import write_png
from pneumoseg.shared.rle import encode
from pneumoseg.tune.search import Family, Search
from pneumoseg.tune.selection import patient_groups, search_family

_SIDE = 1024
_READ = 48
_IMAGES = 1372
_ANNOTATED = 12_047
_ROOT = Path(__file__).resolve().parent.parent


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def _blob(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros((_SIDE, _SIDE), np.uint8)
    center = (int(rng.integers(200, 800)), int(rng.integers(150, 600)))
    cv2.ellipse(mask, center, (int(rng.integers(15, 90)), int(rng.integers(40, 220))), 10.0, 0, 360, 1, -1)
    return mask > 0


def _write_cases(folder: Path, rng: np.random.Generator) -> tuple[Case, ...]:
    cases = []
    for index in range(_READ):
        truth = _blob(rng) if index % 4 == 0 else np.zeros((_SIDE, _SIDE), np.bool_)
        soft = cv2.GaussianBlur((truth * 0.9 + _blob(rng) * 0.3).astype(np.float32), (0, 0), 12)
        noisy = np.clip(soft + rng.normal(0, 0.01, soft.shape), 0, 1)
        write_png(folder / f"{index}.png", np.rint(noisy * 255).astype(np.uint8))
        label = bool(truth.any())
        mask = folder / f"mask{index}.png" if label else None
        if mask:
            write_png(mask, truth.astype(np.uint8) * 255)
        probability, map = float(noisy.max()), folder / f"{index}.png"
        cases.append(Case(str(index), str(index), "0", probability, label, mask_known=True, map=map, mask=mask))
    return tuple(cases)


def _search(params: TuneParams, rng: np.random.Generator) -> tuple[float, int]:
    positive = rng.random(_IMAGES) < 0.22
    truth_px = np.where(positive, rng.integers(500, 60_000, _IMAGES), 0)
    above = np.sort(rng.integers(0, 80_000, (_IMAGES, 256)), axis=1)[:, ::-1].copy()
    inside = np.minimum(above, truth_px[:, None]) // 2
    nothing = np.zeros((_IMAGES, 0), np.int64)
    image_px = np.full(_IMAGES, _SIDE * _SIDE)
    counts = LevelCounts(
        np.arange(_IMAGES), rng.random(_IMAGES), image_px, truth_px, above, inside, (), nothing, nothing
    )
    groups = patient_groups(counts.patients, positive, params.cross_fit_groups, params.seed)
    seconds, result = _timed(
        lambda: search_family(Search(counts, groups, params), Family("triplet", gated=False), [params.objective])
    )
    return seconds, result[params.objective].rules


def _measure(cases: tuple[Case, ...]) -> None:
    rule = DecisionRule("triplet", 0.3, (Level(0.7, 600),))
    for case in cases:
        levels = case.read_map()
        truth = case.read_truth(levels.shape)
        predicted = rule.apply(levels, case.probability)
        truth = np.zeros(levels.shape, np.bool_) if truth is None else truth
        match_instances(predicted, truth, levels)
        surface_distances(predicted, truth)


def _score(folder: Path, rng: np.random.Generator) -> float:
    codes = [encode(_blob(rng)) for _ in range(64)]
    for name in ("truth", "submission"):
        with (folder / f"{name}.csv").open("w", encoding="utf-8") as file:
            file.write("ImageId,EncodedPixels\n")
            for index in range(_ANNOTATED):
                code = codes[int(rng.integers(64))] if index % 9 < 2 else "-1"
                file.write(f"image{index},{code}\n")
    pixels = _SIDE * _SIDE
    return _timed(
        lambda: score_masks(
            read_masks(folder / "truth.csv", pixels), read_masks(folder / "submission.csv", pixels), pixels
        )
    )[0]


def main() -> str:
    """Measure on one core and give a table."""
    content = YAML(typ="safe").load(_ROOT / "params.yaml")["tune"]
    params = TuneParams.model_validate_json(json.dumps(content))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        cases = _write_cases(Path(name), rng)
        reading = _timed(lambda: [case.read_map() for case in cases])[0]
        cleaning = Cleaning(params.mask_thresholds, 0, fill_holes=False)
        counting = _timed(lambda: count_levels(cases, cleaning, workers=1))[0]
        measuring = _timed(lambda: _measure(cases))[0]
        searching, rules = _search(params, rng)
        scoring = _score(Path(name), rng)
    rows = [
        ("read a map, 1024 x 1024 PNG", 1000 * reading / _READ, "ms an image"),
        ("tune: one pass, reading included", 1000 * counting / _READ, "ms an image"),
        (f"tune: {rules:,} triplets, {_IMAGES:,} images, after it", searching, "s"),
        ("evaluate: measure, reading included", 1000 * measuring / _READ, "ms an image"),
        (f"score: two tables of {_ANNOTATED:,} images", scoring, "s"),
    ]
    return "\n".join(f"{label:<52}{value:>8.2f} {unit}" for label, value, unit in rows)
