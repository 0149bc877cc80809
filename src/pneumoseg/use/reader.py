"""One reader behind every door: a file goes in, an answer or a refusal comes out."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from pneumoseg.predict.predictor import Combination, Group, Predictor
from pneumoseg.predict.runner import Runner, Views, load_networks
from pneumoseg.radiographs.reading import Radiograph
from pneumoseg.radiographs.rules import Refusal
from pneumoseg.rule.decision import PLAIN_PROBABILITY_RULE, Decider, Decision, DecisionRule
from pneumoseg.rule.maps import grey_levels
from pneumoseg.shared.devices import choose_device, choose_precision
from pneumoseg.shared.files import digest_bytes, read_json
from pneumoseg.use.acceptance import File, accept
from pneumoseg.use.answers import Origin, Reading, Refused
from pneumoseg.use.bundle import SELF_TEST, Bundle

#: Test figures that stand beside every answer.
OPERATING_POINT = ("sensitivity", "specificity", "ppv", "npv", "auc", "dice_all", "dice_pos", "all_empty")
#: How far an answer to the self-test may lie from the one that was written on another machine.
TOLERANCE = 0.01


class Reader:
    """A bundle, loaded: it reads radiographs of any kind that extraction takes, by the same rules and the same code."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        """Load the networks.

        Args:
            bundle: read and checked.
            device: auto, cpu or cuda.

        Raises:
            DataError: a network is damaged.
            ParameterError: there is no such device.
        """
        self.bundle = bundle
        params = bundle.predict
        chosen = choose_device(device)  # type: ignore[arg-type]  # checked there
        views = Views(params.horizontal_flip, params.scales)
        groups = []
        for entry in bundle.about.groups:
            folders = [bundle.folder / "networks" / name for name in entry.folders]
            networks = tuple(network for folder in folders for network in load_networks(folder))
            groups.append(Group(networks, entry.weight, entry.use))
        runner = Runner(chosen, choose_precision(params.precision, chosen), views)
        self.predictor = Predictor(groups, runner, Combination(params.combine, params.vote_threshold))
        self._origin = _origin(groups)
        self._operating_point = {name: bundle.measured(name) for name in OPERATING_POINT}

    def read(self, file: File, image_id: str = "") -> Reading | Refused:
        """Answer one radiograph.

        Args:
            file: path or content of a DICOM, PNG or JPEG file, or (H, W) uint8 or uint16, dark to bright.
            image_id: of a PNG, a JPEG or an array; by default the name of the file, or a digest of its content.
        """
        started = time.perf_counter()
        try:
            radiograph = accept(file, self.bundle, image_id)
        except Refusal as refusal:
            return Refused(refusal.image_id, refusal.kind, refusal.reason)
        return self.answer(radiograph, started)

    def answer(self, radiograph: Radiograph, started: float | None = None) -> Reading:
        """What the model says of a radiograph that passed every rule; ``started``: of time.perf_counter."""
        started = time.perf_counter() if started is None else started
        shape = (int(radiograph.row["rows"] or 0), int(radiograph.row["columns"] or 0))
        (answer,) = self.predictor([radiograph.pixels], [shape])
        rule, image_map = self.bundle.rule, None if answer.map is None else grey_levels(answer.map)
        decider: Decider
        if image_map is None:
            positive = bool(rule.opens(answer.probability))
            decider, mask = ("all" if positive else "gate"), None
            because = explain(rule, answer.probability, None, shape)
        else:
            decision = rule.decide(image_map, answer.probability)
            decider, mask, positive = decision.decider, decision.mask, bool(decision.mask.any())
            because = explain(rule, answer.probability, decision, shape)
        unknown = () if radiograph.row["view_position"] else ("view_unknown",)
        return Reading(
            str(radiograph.row["image_id"]),
            radiograph.pixels,
            shape,
            answer.probability,
            self._origin,
            positive,
            decider,
            because,
            image_map,
            mask,
            radiograph.geometry,
            (*radiograph.flags, *unknown),
            self.bundle.about.id,
            self.bundle.warnings,
            self._operating_point,
            time.perf_counter() - started,
            None if answer.findings is None else tuple(answer.findings),
        )

    def self_test(self) -> tuple[str, ...]:
        """Repeat the bundle's own case; gives what differs from the answer that was written when it was made."""
        wanted = read_json(self.bundle.folder / f"{SELF_TEST}.json")
        found = self.read(self.bundle.folder / f"{SELF_TEST}.dcm")
        if isinstance(found, Refused):
            return (f"the radiograph is refused: {found.reason}",)
        told = []
        if abs(found.probability - float(wanted["probability"])) > TOLERANCE:
            told.append(f"probability {found.probability:.4f} instead of {wanted['probability']:.4f}")
        level = None if found.map is None else float(found.map.mean()) / 255
        if level is not None and abs(level - float(wanted["mean_of_map"])) > TOLERANCE:
            told.append(f"mean of the map {level:.4f} instead of {wanted['mean_of_map']:.4f}")
        if digest_bytes(found.pixels.tobytes()) != wanted["pixels"]:
            told.append("the file is decoded to other pixels")
        return tuple(told)


def load(model: Path | str = "data/bundle", device: str = "auto") -> Reader:
    """The reader of a bundle; the only line that a notebook needs.

    Raises:
        DataError: there is no bundle, or it is damaged.
        ParameterError: there is no such device.
    """
    return Reader(Bundle.read(Path(model)), device)


def explain(rule: DecisionRule, probability: float, decision: Decision | None, shape: tuple[int, int]) -> str:
    """Which part of the rule decided, in words: so that a probability of .95 below the threshold explains itself."""
    gate = rule.gate_probability
    if decision is None or decision.decider == "gate":
        limit = PLAIN_PROBABILITY_RULE.gate_probability if gate is None else gate
        sign = "reaches" if rule.opens(probability) else "is below"
        return f"the probability {probability:.3f} {sign} the gate {limit:g}"
    if decision.decider == "area" and decision.level is not None:
        wanted = -(-decision.level.min_area_px_at_1024 * shape[0] * shape[1] // (1024 * 1024))
        return f"{decision.count_px} px lie above {decision.level.threshold:g}, fewer than the {wanted} px asked for"
    if decision.decider == "threshold":
        return f"no pixel lies above the mask threshold {rule.mask_threshold:g}"
    if decision.decider == "component":
        return f"every component is smaller than {rule.min_component_px_at_1024} px (at 1024 x 1024)"
    area = np.count_nonzero(decision.mask)
    return f"{area} px lie above the mask threshold {rule.mask_threshold:g}, and every part agrees"


def _origin(groups: list[Group]) -> Origin:
    heads = {group.gives_image for group in groups if group.use != "map"}
    if heads == {True}:
        apart = all(group.tells_apart for group in groups if group.use != "map")
        return "best_detection" if apart else "image_head"
    return "map_maximum" if True not in heads else "image_head_and_map_maximum"
