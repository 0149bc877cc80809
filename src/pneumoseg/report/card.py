"""The model card (Mitchell et al. 2019, Model Cards for Model Reporting): what the model is for, and what limits it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pneumoseg.report.ensemble_notes import ensemble_points
from pneumoseg.report.external_sets import card_limit, card_points
from pneumoseg.report.inputs import Inputs, mapping
from pneumoseg.report.judging import FEW_IMAGES, small_groups
from pneumoseg.report.parts import count_of, listed, number, percent
from pneumoseg.report.result import MEASURES, judge

_MARKDOWN: Final = re.compile(r"([\\`*_\[\]#|~])")
_SHOWN: Final = ("dice_all", "all_empty", "dice_pos", "sensitivity", "specificity", "auc", "ppv", "npv")


@dataclass(frozen=True)
class CardPart:
    """A titled part of the card: paragraphs, then points; plain text."""

    title: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()


def write_card(inputs: Inputs) -> tuple[CardPart, ...]:
    """The parts of the card, in plain text made of the inputs' figures."""
    return (
        CardPart("Model", (_model(inputs),), tuple(_model_points(inputs))),
        CardPart("Intended use", _INTENDED, _NOT_INTENDED),
        CardPart("Data", (phantom_sentence(inputs),), tuple(_data_points(inputs))),
        CardPart("Measured on the test images", judge(inputs).sentences, tuple(_figures(inputs))),
        *_external(inputs),
        CardPart("Limits", (), tuple(_limits(inputs))),
        CardPart("Ethical considerations", (), _ETHICS),
    )


_INTENDED: Final = (
    "Research and teaching: training, comparing and explaining segmentation of pneumothorax on frontal chest "
    "radiographs of the kind it was trained on.",
    "It is not a medical device: no regulator has examined it, and its output may not guide the care of a patient.",
)
_NOT_INTENDED: Final = (
    "Not for diagnosis, triage, second reading or monitoring of patients.",
    "Not for lateral or paediatric radiographs, computed tomography, photographs of films, or other findings.",
    "Not for measuring the volume of a pneumothorax: areas on a projection do not give it.",
)
_ETHICS: Final = (
    "A missed pneumothorax can be fatal, and a false alarm can lead to a needless chest tube: the report's galleries "
    "show the missed cases and the false positives of the test images.",
    "People tend to follow what a picture marks (automation bias). Look at the radiograph before the overlay.",
    "Figures may differ between groups of patients, also between those that the data do not record.",
    "Radiographs are health data even without names: share this folder only where sharing its images is allowed.",
)


def phantom_sentence(inputs: Inputs) -> str:
    """What share of the images are phantoms, as a sentence that nobody can misread."""
    total, share = len(inputs.metadata), inputs.phantom_share
    if share == 1:
        return (
            f"Phantom data: all {total:,} radiographs were made by software. "
            "No figure here says anything about patients."
        )
    if share > 0:
        phantoms = int(inputs.metadata["phantom"].fillna(0).sum())
        return (
            f"Partly phantom data: {phantoms:,} of {total:,} radiographs were made by software. No figure here says "
            "anything about patients."
        )
    return f"{count_of(total, 'radiograph')}; none is marked as synthetic."


def _setting(inputs: Inputs, key: str) -> str:
    text = inputs.configuration.value(key)
    return str(json.loads(text)) if text.startswith('"') else text


def _model(inputs: Inputs) -> str:
    architecture, encoder = _setting(inputs, "model.architecture"), _setting(inputs, "model.encoder")
    weights = _setting(inputs, "model.weights")
    start = "random weights" if weights in ("", "null") else f"weights {weights}"
    count = len(inputs.train_folds)
    trained = "one network" if count == 1 else f"{count} networks, whose probabilities are averaged on test images"
    left_out = listed([str(fold) for fold in inputs.train_folds])
    return (
        f"{architecture} with encoder {encoder}, started from {start}: {trained}; left out of training for validation: "
        f"fold {left_out}."
    )


def _model_points(inputs: Inputs) -> Iterable[str]:
    sizes = sorted({str(model["size_px"]) for model in inputs.models.values() if "size_px" in model})
    if sizes:
        yield f"Input: one radiograph, brought to {listed(sizes)} px square; output: a probability for each pixel."
    yield from ensemble_points(inputs.root)
    yield f"Decision rule: {inputs.rule.describe()}."
    for fold, run in inputs.runs.items():
        yield f"Fold {fold}: train_key {run.get('train_key', 'not recorded')}, data {run.get('data', 'not recorded')}."
    if _setting(inputs, "model.encoder").startswith("mit_b") and _setting(inputs, "model.weights") == "imagenet":
        yield "The pretrained weights of mit_b encoders are licensed by NVIDIA for non-commercial use only."


def _data_points(inputs: Inputs) -> Iterable[str]:
    annotated = inputs.annotations[inputs.annotations["annotated"] == 1]
    positives = int((annotated["pneumothorax"] == 1).sum())
    share = percent(positives / len(annotated)) if len(annotated) else number(None)
    yield f"Annotated: {count_of(len(annotated), 'image')}, {positives:,} with pneumothorax ({share})."
    others = len(inputs.annotations) - len(annotated)
    if others:
        yield f"Without usable annotation: {count_of(others, 'image')}, never counted as negatives."
    validation = inputs.folds["fold"].isin([str(fold) for fold in inputs.train_folds]).sum()
    tested = inputs.folds["fold"].eq("test").sum()
    patients = inputs.folds["patient"].replace("", None).nunique()
    yield (
        f"Split by patient ({count_of(int(patients), 'known patient')}): {count_of(int(tested), 'test image')}, "
        f"{count_of(int(validation), 'validation image')} of the trained folds."
    )


def _figures(inputs: Inputs) -> Iterable[str]:
    for key in _SHOWN:
        if key in inputs.test:
            yield f"{MEASURES[key]}: {inputs.figure(key).text()}"


def _external(inputs: Inputs) -> Iterable[CardPart]:
    if inputs.external:
        yield CardPart("Measured on external sets", (), tuple(card_points(inputs)))


def _limits(inputs: Inputs) -> Iterable[str]:
    positives = inputs.cases[inputs.cases["truth_px"] > 0]
    patients = inputs.test.get("n_patients")
    told = f" of {count_of(patients, 'patient')}" if isinstance(patients, int) else ""
    yield (
        f"The test set has {count_of(len(inputs.cases), 'image')}{told}, {len(positives):,} with pneumothorax; "
        "intervals are 95 %, by bootstrap over patients."
    )
    small = small_groups(inputs)
    if small:
        groups = (
            "every subgroup" if len(small) == len(inputs.test["subgroups"]) else f"these subgroups: {listed(small)}"
        )
        yield f"Fewer than {FEW_IMAGES} images with pneumothorax, so nothing can be concluded, in {groups}."
    tested = inputs.metadata[inputs.metadata["image_id"].isin(inputs.cases["image_id"])]
    recorded = {
        "sex": tested["sex"].ne(""),
        "age": tested["age_years"].notna(),
        "view position": tested["view_position"].ne(""),
        "pixel spacing": tested["pixel_spacing_row_mm"].notna(),
    }
    for name, known in recorded.items():
        if not known.any():
            yield f"No test image records {name}: nothing can be said of it."
        elif not known.all():
            yield f"{count_of(int((~known).sum()), 'test image')} of {len(known):,} without {name}."
    yield card_limit(inputs)
    yield "The truth is the annotation as given; its own errors are part of every figure."
    yield "Chest tubes show where a pneumothorax was treated; a model may learn them instead (Thian et al. 2021)."
    if mapping(inputs.test, "calibration").get("ece") is None:
        yield "Calibration of the probabilities was not measured."


def card_markdown(parts: Iterable[CardPart], warning: str) -> str:
    """The card as a Markdown file; texts show as they are, whatever marks or HTML they hold.

    Args:
        parts: of write_card.
        warning: shown first and in bold; empty for none.
    """
    blocks = ["# Model card: pneumothorax segmentation"]
    if warning:
        blocks.append(f"**{_plain(warning)}**")
    for part in parts:
        blocks.append(f"## {_plain(part.title)}")
        blocks += [_plain(paragraph) for paragraph in part.paragraphs]
        if part.points:
            blocks.append("\n".join(f"- {_plain(point)}" for point in part.points))
    return "\n\n".join(blocks) + "\n"


def _plain(text: str) -> str:
    html = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", " ".join(html.split()))
