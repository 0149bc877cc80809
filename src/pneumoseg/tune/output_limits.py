"""Networks with several outputs: a limit for each, chosen as the rule is, so that their calls can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pneumoseg.config.tune import TuneParams
from pneumoseg.rule.cases import Case
from pneumoseg.rule.decision import PLAIN_PROBABILITY_RULE
from pneumoseg.tune.probability_rule import CallSearch, ImageCalls
from pneumoseg.tune.search import Family
from pneumoseg.tune.selection import search_family


def output_limits(
    cases: Sequence[Case], outputs: pd.DataFrame, params: TuneParams, goal: str
) -> Mapping[str, Mapping[str, Any]]:
    """The best limit of each output on the validation images that have all of them, and on how many.

    With one class alone among them there is nothing to choose, and it is the plain one, 0.5.

    Args:
        cases: validation images.
        outputs: of rule.cases.Predictions.outputs.
        params: section tune.
        goal: the objective's name, of calls.
    """
    chosen = [case for case in cases if case.image_id in outputs.index]
    plain = {"gate_probability": PLAIN_PROBABILITY_RULE.gate_probability, "n": len(chosen)}
    if len({case.label for case in chosen}) < 2:
        return {str(name): plain for name in outputs}
    calls, together = ImageCalls.of(chosen), np.zeros(len(chosen), np.int64)
    found = {}
    for name in outputs:
        values = outputs[name].loc[[case.image_id for case in chosen]].to_numpy(np.float64)
        search = CallSearch(ImageCalls(calls.patients, values, calls.positive), together, params)
        best = search_family(search, Family("probability", gated=False), [goal], params.least_sensitivity)[goal]
        found[str(name)] = plain | {"gate_probability": best.best[frozenset()].rule.gate_probability}
    return found
