"""Networks with several outputs: each on the same test images, and what the last one adds."""

from __future__ import annotations

from pneumoseg.evaluate.outputs import FIGURES
from pneumoseg.evaluate.result import Outputs
from pneumoseg.report.inputs import Inputs
from pneumoseg.report.parts import Table, count_of, number, told


def outputs_table(inputs: Inputs) -> Table:
    """A row for each output of the test images and of every external set, and one for the paired difference."""
    sets = (("own test set", inputs.test), *inputs.external.items())
    rows = []
    for name, found in sets:
        for one in (*found.outputs.single, found.outputs.difference) if found.outputs else ():
            limit = "" if one.limit is None else number(one.limit)
            rows.append((f"{name}: {one.name}", limit, *(told(one.figure(figure)) for figure in FIGURES)))
    return Table("Single outputs", ("output", "limit", *FIGURES.values()), tuple(rows))


def outputs_told(outputs: Outputs) -> str:
    """What the last output adds to the first, and on which images."""
    gap = outputs.difference.figure("auc")
    shown = "no interval" if gap.low is None else "shown" if gap.low > 0 else "not shown"
    return (
        f"On the {count_of(outputs.n, 'image')} of {count_of(outputs.n_patients, 'patient')} that have all views "
        f"({number(outputs.n_positive)} with pneumothorax), AUC of {outputs.last} minus {outputs.first}, paired: "
        f"{told(gap)}; that {outputs.last} ranks better is {shown}. The label is the study's, so an output is judged "
        f"by what the study shows, not by what its view does."
    )
