"""The report: one folder with index.html, pictures, plots and the model card; opens from disk without a network."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pneumoseg.config import Params
from pneumoseg.report.case_table import case_table
from pneumoseg.report.data_section import data_part
from pneumoseg.report.ensemble_notes import ensemble_fingerprints, others_joined
from pneumoseg.report.external_sets import external_part, published_table
from pneumoseg.report.gallery_views import show_galleries
from pneumoseg.report.headline import headline_chart, judge, measures, tiles
from pneumoseg.report.inputs import Inputs, read_inputs
from pneumoseg.report.judging import calibration_part, decision_part, subgroup_part
from pneumoseg.report.learning_curves import training_part
from pneumoseg.report.model_card import card_markdown, phantom_sentence, write_card
from pneumoseg.report.pages import render
from pneumoseg.report.parameter_changes import configuration_part, told_changes
from pneumoseg.report.parts import Part
from pneumoseg.report.pictures import copy_sheet
from pneumoseg.report.single_outputs import outputs_table, outputs_told
from pneumoseg.report.statistical_plots import copy_plots
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.passwords import masked

_LOGGER = logging.getLogger("pneumoseg")
_TEMPLATE = Path(__file__).with_name("templates") / "report.html"


def build_report(layout: Layout, params: Params) -> None:
    """Write data/report: index.html, model_card.md, cases and plots.

    An older report stays as it is until the new one is complete; then it is replaced whole.

    Args:
        layout: of the main set.
        params: of the run.

    Raises:
        DataError: a file is missing or damaged, or files contradict each other.
    """
    inputs = read_inputs(layout, params)
    out = layout.report
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".writing-report-") as temporary:
        folder = Path(temporary) / "report"
        folder.mkdir()
        view = _view(inputs, folder)
        (folder / "index.html").write_bytes(render(_TEMPLATE, view).encode())
        card = card_markdown(view["parts"]["model-card"].parts, inputs.task, view["banner"])
        (folder / "model_card.md").write_bytes(masked(card).encode())
        shutil.rmtree(out, ignore_errors=True)
        folder.replace(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    _LOGGER.info("%s: %d galleries, %.1f MB", out / "index.html", len(view["galleries"]), size / 1e6)


def _view(inputs: Inputs, folder: Path) -> dict[str, Any]:
    """What the template shows; every value is plain text, a chart of ours, or made of them."""
    layout, params = inputs.layout, inputs.params
    configuration = configuration_part(params, layout.root / "requirements.lock", tuple(_fingerprints(inputs)))
    also = Markup('Also as <a href="model_card.md">model_card.md</a>.')
    shown = "the prediction, and where they agree" if inputs.maps else "and the call; this model gives no map"
    looked = not inputs.maps and layout.activation.is_dir()
    shown = "and where the network looked, its class activation map" if looked else shown
    beside = "beside it the lateral one where its study has one, " if inputs.laterals else ""
    changed = told_changes(params, 12)
    galleries = show_galleries(inputs, folder, params.report)
    return {
        "title": f"Pneumothorax {inputs.task}: {told_changes(params, 2) or 'report, all parameters by default'}",
        "subtitle": f"{params.model.architecture}, encoder {params.model.encoder}{others_joined(layout)}; "
        f"{len(inputs.cases):,} test images{f'. Changed: {changed}' if changed else ''}",
        "made_by": "pneumoseg, stage report",
        "banner": phantom_sentence(inputs) if inputs.phantom_share > 0 else "",
        "lead": {"result": "Result", "cases": "Cases"},
        "verdict": judge(inputs),
        "tiles": tiles(inputs),
        "headline_chart": headline_chart(inputs),
        "measures": measures(inputs),
        "maps": inputs.maps,
        "looked": looked,
        "laterals": bool(inputs.laterals),
        "cases_note": f"Each case shows the radiograph, {beside}the annotated pneumothorax where it is known, {shown}.",
        "galleries": galleries,
        "case_table": case_table(inputs, {case.image_id for gallery in galleries for case in gallery.cases}),
        "parts": {
            "subgroups": subgroup_part(
                inputs, copy_plots(layout.plots, folder, only=("dice_by_size",)) if inputs.maps else ()
            ),
            "external": external_part(inputs),
            "decision": decision_part(inputs, copy_plots(layout.tune, folder)),
            # The subgroups are drawn as charts of the page.
            "detection": _detection(inputs, folder),
            "training": training_part(layout.training, params.split.train_folds),
            "augmentations": Part("Augmentations", drawings=(copy_sheet(layout, folder),)),
            "data": data_part(layout, inputs.submission),
            "exploration": Part("Exploration", drawings=copy_plots(layout.explore, folder)),
            "configuration": configuration,
            "model-card": Part("Model card", (also,), parts=write_card(inputs)),
        },
    }


def _detection(inputs: Inputs, folder: Path) -> Part:
    part = calibration_part(inputs, copy_plots(inputs.layout.plots, folder, leave=("dice_by_size", "subgroups")))
    tables = [] if inputs.external else [published_table(inputs)]  # beside external sets it is among theirs
    notes = part.notes
    if inputs.test.outputs:
        tables.append(outputs_table(inputs))
        notes = (*notes, outputs_told(inputs.test.outputs))
    return replace(part, notes=notes, tables=(*part.tables, *tables))


def _fingerprints(inputs: Inputs) -> Iterator[tuple[str, str]]:
    for fold, run in inputs.runs.items():
        yield f"fold {fold}, train_key", str(run.get("train_key", "not recorded"))
        yield f"fold {fold}, data", str(run.get("data", "not recorded"))
    yield from ensemble_fingerprints(inputs.layout)
