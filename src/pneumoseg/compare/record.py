"""comparison.json: every number of a comparison, for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from pneumoseg.compare.comparing import Against, Comparison
from pneumoseg.compare.configuration_rows import Row
from pneumoseg.compare.wording import all_empty
from pneumoseg.evaluate.metrics.core import ALL_EMPTY, DICE_ALL, PREVALENCE
from pneumoseg.stats.bootstrap import CONFIDENCE

#: By this the command knows a folder of its own.
MADE_BY: Final = "pneumoseg compare"


def record(comparison: Comparison) -> dict[str, Any]:
    """What comparison.json holds; NaN where it has null."""
    pairing = comparison.pairing
    names = [item.name for item in comparison.experiments]
    return {
        "made_by": MADE_BY,
        "reference": comparison.reference.name,
        "confidence": CONFIDENCE,
        "replicates": comparison.replicates,
        "seed": comparison.seed,
        "images": {
            "n": len(pairing.ids),
            "n_positive": int(pairing.positive.sum()),
            "n_patients": len(np.unique(pairing.patients)),
            "n_positive_patients": pairing.patients_of(pairing.positive),
            "phantom": int(pairing.phantom),
            PREVALENCE.name: float(pairing.positive.mean()),
            ALL_EMPTY.name: all_empty(comparison),
        },
        "cautions": [asdict(caution) for caution in comparison.cautions],
        "experiments": [_experiment(comparison, index) for index in range(len(names))],
        "comparisons": [_against(item) for item in comparison.against],
        "dice_by_lesion_size": [
            {
                "size": row.size,
                "n": row.images,
                "n_patients": row.patients,
                "dice": dict(zip(names, row.dice, strict=True)),
                "differences": {
                    name: {"difference": value, "interval": list(interval)}
                    for name, (value, interval) in zip(names[1:], row.differences, strict=True)
                },
            }
            for row in comparison.sizes
        ],
        "parameters": _rows(comparison.parameters, names),
        "data_md5": _rows(comparison.data, names),
        "code_md5": _rows(comparison.code, names),
    }


def _experiment(comparison: Comparison, index: int) -> dict[str, Any]:
    item, figures = comparison.experiments[index], comparison.figures[index]
    leak = next(entry for entry in comparison.leaks if entry.experiment == item.name)
    return {
        "name": item.name,
        "commit": item.sha,
        "encoder": item.setting("model.encoder"),
        "architecture": item.setting("model.architecture"),
        "decision_rule": item.rule,
        "figures": {name: {"value": figure.value, "interval": figure.interval} for name, figure in figures.items()},
        "beats_all_empty": comparison.over_empty[index],
        "cost": asdict(comparison.costs[index]) if comparison.costs else None,
        "own_test_set": {"n": item.test.n, DICE_ALL.name: item.test.figure(DICE_ALL.name).value},
        "left_out": [
            {"reason": entry.reason, "n": entry.images, "n_patients": entry.patients}
            for entry in comparison.pairing.left_out
            if entry.experiment == item.name
        ],
        "leak": {"n": leak.images, "n_patients": leak.patients} if leak.known else None,
    }


def _against(item: Against) -> dict[str, Any]:
    return {
        "name": item.experiment.name,
        "differences": {
            name: {
                "difference": found.value,
                "interval": list(found.interval),
                "p": found.p,
                "p_holm": found.p_holm,
                "verdict": found.verdict,
                "words": found.words,
            }
            for name, found in item.differences.items()
        },
        "images_by_dice": [asdict(tally) for tally in item.tallies],
        "images_by_call": [asdict(calls) for calls in item.calls],
        "most_different": [asdict(image) | {"difference": image.difference} for image in item.most_different],
    }


def _rows(rows: Sequence[Row], names: Sequence[str]) -> dict[str, dict[str, str]]:
    return {row.key: dict(zip(names, row.values, strict=True)) for row in rows}
