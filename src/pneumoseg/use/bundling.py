"""The stage bundle: everything that an answer needs, copied into one folder, and a case to test it by."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from pneumoseg.config import Params
from pneumoseg.config.model import FROM_MASKS
from pneumoseg.config.phantom import PhantomParams
from pneumoseg.evaluate.result import TestResult
from pneumoseg.networks.lungs import FOLDER as LUNGS
from pneumoseg.networks.lungs import copy_network
from pneumoseg.networks.storage import SPEC_FILE
from pneumoseg.networks.weights import WEIGHTS_FILE
from pneumoseg.phantom.writer import phantom_file
from pneumoseg.predict.members import find_member
from pneumoseg.predict.runner import model_folders
from pneumoseg.rule.decision import read_rule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes, fresh_dir, read_object, write_json
from pneumoseg.shared.fingerprints import data_fingerprint, project_root, stage_code
from pneumoseg.shared.layout import Layout
from pneumoseg.use.answers import Refused
from pneumoseg.use.bundle import SELF_TEST, write_description
from pneumoseg.use.reader import OPERATING_POINT, load

logger = logging.getLogger(__name__)


def make_bundle(layout: Layout, params: Params) -> None:
    """Write data/bundle/ of what was trained, tuned and evaluated here; the same again gives the same bytes.

    Args:
        layout: of the main set; models, thresholds and test are read.
        params: all sections.

    Raises:
        DataError: a network, the rule or the test figures are missing, or the new bundle cannot read its own phantom.
    """
    folder = fresh_dir(layout.bundle)
    if params.model.lungs.source == FROM_MASKS:
        logger.warning(
            "model.lungs.source = masks: a radiograph in use has no lung mask and is seen whole, as hardly any "
            "training image was; give the folder of a network that learnt lung masks"
        )
    own = {fold: layout.models / f"fold{fold}" for fold in params.split.train_folds}
    groups = [_copy(folder, 0, own, params.predict.own_weight, "both")] if params.predict.own_weight else []
    root = project_root(layout.root)
    for entry in params.predict.members:
        member = find_member(entry, root, layout.splits, params.split.train_folds)
        groups.append(_copy(folder, len(groups), dict(member.folders), entry.weight, entry.use))
    write_case(folder)
    predict = {**params.predict.model_dump(mode="json"), "members": [], "own_weight": 1.0}
    write_description(
        folder,
        {
            "phantom": read_object(layout.extract_counts)["phantom_images"] > 0,
            "architecture": params.model.architecture,
            "encoder": params.model.encoder,
            "groups": groups,
            "extract": params.extract.model_dump(mode="json"),
            "predict": predict,
            "rule": read_rule(layout.thresholds).to_json(),
            **params.bundle.model_dump(mode="json"),
            "tested": _tested(TestResult.read(layout.test)),
            "data": data_fingerprint(layout.root, params.data.more),
            "code": stage_code(layout.root, "bundle"),
        },
    )
    write_answer(folder)


def write_case(folder: Path) -> None:
    """Write the radiograph of the self-test, a phantom; before the description, which lists it."""
    (folder / f"{SELF_TEST}.dcm").write_bytes(phantom_file(PhantomParams(size_px=512, images=8, seed=1), 0))


def write_answer(folder: Path) -> None:
    """Write what the bundle says of that radiograph.

    Raises:
        DataError: it refuses it.
    """
    answer = load(folder, "cpu").read(folder / f"{SELF_TEST}.dcm")
    if isinstance(answer, Refused):
        raise DataError(f"the phantom of the self-test is refused by section extract of params.yaml: {answer.reason}")
    content = {
        "probability": answer.probability,
        "mean_of_map": None if answer.map is None else float(answer.map.mean()) / 255,
        "positive": answer.positive,
        "pixels": digest_bytes(answer.pixels.tobytes()),
    }
    write_json(folder / f"{SELF_TEST}.json", content)


def _copy(folder: Path, number: int, folds: dict[int, Path], weight: float, use: str) -> dict[str, Any]:
    """Copy the networks of one experiment; gives their entry."""
    for fold, source in sorted(folds.items()):
        for network in model_folders(source):
            target = folder / "networks" / str(number) / f"fold{fold}" / network.relative_to(source)
            target.mkdir(parents=True)
            for name in (WEIGHTS_FILE, SPEC_FILE):
                if not (network / name).is_file():
                    raise DataError(f"{network / name}: not there; run dvc repro train")
                shutil.copyfile(network / name, target / name)
        if (source / LUNGS).is_dir():
            copy_network(source / LUNGS, folder / "networks" / str(number) / f"fold{fold}" / LUNGS)
    return {"folders": [f"{number}/fold{fold}" for fold in sorted(folds)], "weight": weight, "use": use}


def _tested(result: TestResult) -> dict[str, Any]:
    """The figures that stand beside every answer; a figure that the test images do not give is not measured."""
    figures = {name: result.figure(name) for name in OPERATING_POINT}
    return {
        "images": result.n,
        "positives": result.n_positive,
        "patients": result.n_patients,
        "figures": {
            name: {"value": figure.value, "low": figure.low, "high": figure.high} for name, figure in figures.items()
        },
    }
