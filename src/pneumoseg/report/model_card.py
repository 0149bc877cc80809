"""The model card (Mitchell et al. 2019, Model Cards for Model Reporting): what the model is for, and what limits it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

from pneumoseg.evaluate.metrics.image_calls import NPV, PPV
from pneumoseg.report.ensemble_notes import ensemble_points
from pneumoseg.report.external_sets import card_limit, card_points, shown_metrics
from pneumoseg.report.headline import judge
from pneumoseg.report.inputs import Inputs
from pneumoseg.report.judging import small_groups
from pneumoseg.report.parts import Part, count_of, listed, number, percent, sentence, told
from pneumoseg.report.single_outputs import outputs_told
from pneumoseg.shared.files import read_object
from pneumoseg.stats.bootstrap import FEW

_MARKDOWN: Final = re.compile(r"([\\`*_\[\]#|~])")


def write_card(inputs: Inputs) -> tuple[Part, ...]:
    """The parts of the card, in plain text made of the inputs' figures."""
    return (
        Part("Model", (_model(inputs),), tuple(_model_points(inputs))),
        Part("Intended use", tuple(text.format(task=inputs.task) for text in _INTENDED), _NOT_INTENDED),
        Part("Data", (phantom_sentence(inputs),), tuple(_data_points(inputs))),
        Part("Measured on the test images", judge(inputs).sentences, tuple(_figures(inputs))),
        *_external(inputs),
        Part("Limits", (), tuple(_limits(inputs))),
        Part("Ethical considerations", (), _ETHICS),
    )


_INTENDED: Final = (
    "Research and teaching: training, comparing and explaining {task} of pneumothorax on frontal chest "
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


def _model(inputs: Inputs) -> str:
    model, folds = inputs.params.model, inputs.params.split.train_folds
    start = "random weights" if model.weights is None else f"weights {_file_name(model.weights)}"
    count = len(folds)
    trained = "one network" if count == 1 else f"{count} networks, whose probabilities are averaged on test images"
    left_out = listed([str(fold) for fold in folds])
    return (
        f"{model.architecture} with encoder {model.encoder}, started from {start}: {trained}; left out of training for "
        f"validation: fold {left_out}."
    )


def _model_points(inputs: Inputs) -> Iterable[str]:
    sizes = sorted({str(model["size_px"]) for model in inputs.models.values() if "size_px" in model})
    if sizes:
        output = (
            "findings, each with a box, a score and a mask, and from them a probability for each pixel"
            if inputs.told_apart
            else "a probability for each pixel"
            if inputs.maps
            else "a probability for the image; this model gives no map"
        )
        by_lungs = inputs.params.model.lungs.source is not None
        seen = "the box around the lungs of a radiograph" if by_lungs else "one radiograph"
        if inputs.test.outputs:
            seen = "a frontal radiograph and, where its study has one, a view from the side; each"
        yield f"Input: {seen}, brought to {listed(sizes)} px square; output: {output}."
    yield from ensemble_points(inputs.layout)
    yield f"Decision rule: {inputs.rule.describe()}."
    for fold, run in inputs.runs.items():
        yield f"Fold {fold}: train_key {run.get('train_key', 'not recorded')}, data {run.get('data', 'not recorded')}."
    model = inputs.params.model
    if str(model.encoder).startswith("mit_b") and model.weights == "imagenet":
        yield "The pretrained weights of mit_b encoders are licensed by NVIDIA for non-commercial use only."


def _data_points(inputs: Inputs) -> Iterable[str]:
    annotated = inputs.annotations[inputs.annotations["annotated"] == 1]
    positives = int((annotated["pneumothorax"] == 1).sum())
    share = percent(positives / len(annotated)) if len(annotated) else number(None)
    yield f"Annotated: {count_of(len(annotated), 'image')}, {positives:,} with pneumothorax ({share})."
    unknown = int((annotated["mask_known"] == 0).sum())
    if unknown:
        yield (
            f"{count_of(unknown, 'image')} of {positives:,} with pneumothorax have a label without a mask: they teach "
            "and judge the probability of the image, and are in no figure of masks."
        )
    for name, found in (read_object(inputs.layout.split_counts).get("more") or {}).items():
        copies = sum(found["copies_of_main"].values())
        yield (
            f"Trained on data.more.{name} as well: {count_of(found['images'] - copies, 'image')}, "
            f"{found['label_only']:,} of all {found['images']:,} known by their label alone; never tested on."
        )
    others = len(inputs.annotations) - len(annotated)
    if others:
        yield f"Without usable annotation: {count_of(others, 'image')}, never counted as negatives."
    validation = inputs.folds["fold"].isin([str(fold) for fold in inputs.params.split.train_folds]).sum()
    tested = inputs.folds["fold"].eq("test").sum()
    patients = inputs.folds["patient"].replace("", None).nunique()
    yield (
        f"Split by patient ({count_of(int(patients), 'known patient')}): {count_of(int(tested), 'test image')}, "
        f"{count_of(int(validation), 'validation image')} of the trained folds."
    )


def _figures(inputs: Inputs) -> Iterable[str]:
    for metric in shown_metrics([inputs.test]):
        yield f"{metric.title}: {told(inputs.test.figure(metric.name))}"
    for item in inputs.test.at_prevalence:
        values = " and ".join(f"{metric.label} {told(item.figure(metric.name))}" for metric in (PPV, NPV))
        yield f"Where {percent(item.prevalence)} have a pneumothorax: {values}"
    if inputs.test.outputs:
        yield outputs_told(inputs.test.outputs)


def _external(inputs: Inputs) -> Iterable[Part]:
    if inputs.external:
        yield Part("Measured on external sets", (), tuple(card_points(inputs)))


def _limits(inputs: Inputs) -> Iterable[str]:
    test = inputs.test
    patients = f" of {count_of(test.n_patients, 'patient')}" if test.n_patients else ""
    yield (
        f"The test set has {count_of(test.n, 'image')}{patients}, {test.n_positive:,} with pneumothorax; "
        "intervals are 95 %, by bootstrap over patients."
    )
    yield from (
        sentence(note.text) for note in test.notes if note.code in ("no_map", "no_positive_mask", "mask_unknown")
    )
    small = small_groups(inputs)
    if small:
        groups = "every subgroup" if len(small) == len(test.subgroups) else f"these subgroups: {listed(small)}"
        yield f"Fewer than {FEW} images with pneumothorax, so nothing can be concluded, in {groups}."
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
    if test.calibration.figure("ece").value is None:
        yield "Calibration of the probabilities was not measured."


def card_markdown(parts: Iterable[Part], task: str, warning: str) -> str:
    """The card as a Markdown file; texts show as they are, whatever marks or HTML they hold.

    Args:
        parts: of write_card.
        task: segmentation or detection.
        warning: shown first and in bold; empty for none.
    """
    blocks = [f"# Model card: pneumothorax {task}"]
    if warning:
        blocks.append(f"**{_plain(warning)}**")
    for part in parts:
        blocks.append(f"## {_plain(part.title)}")
        blocks += [_plain(note) for note in part.notes]
        if part.points:
            blocks.append("\n".join(f"- {_plain(point)}" for point in part.points))
    return "\n\n".join(blocks) + "\n"


def _file_name(path: str) -> str:
    """A path without its folders, which tell of one machine."""
    return PurePath(path).name


def _plain(text: str) -> str:
    html = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", " ".join(html.split()))
