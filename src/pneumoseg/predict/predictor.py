"""Trained networks as one function from radiographs to probability maps: folds, checkpoints, whole experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.predict import Use
from pneumoseg.networks.family import Answer
from pneumoseg.predict.runner import Runner, Shown, TrainedNetwork, View, Views, front_of, load_networks
from pneumoseg.rule.crop import STEPS, Box
from pneumoseg.rule.findings import Finding, united
from pneumoseg.rule.maps import restore_map
from pneumoseg.shared.devices import Device, Precision
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.parallel import available_cores
from pneumoseg.shared.resizing import resize

Map = NDArray[np.float32]
Shape = tuple[int, int]

#: Batches in a block where networks have to be moved to the device: moving 250 MB costs about as much as one batch.
BLOCK_BATCHES = 8


@dataclass(frozen=True)
class Group:
    """Networks of one experiment: their mean, or their votes, count with one weight."""

    networks: tuple[TrainedNetwork, ...]
    weight: float = 1.0
    use: Use = "both"

    @property
    def gives_map(self) -> bool:
        """Whether its networks give maps."""
        return all(network.family.gives_map for network in self.networks)

    @property
    def tells_apart(self) -> bool:
        """Whether its networks tell single findings apart."""
        return all(getattr(network.family, "tells_apart", False) for network in self.networks)

    @property
    def gives_image(self) -> bool:
        """Whether all its networks say how probable a pneumothorax is; else the highest of their mean map counts."""
        return all(network.gives_image for network in self.networks)


@dataclass(frozen=True)
class Combination:
    """How several networks' maps become one."""

    kind: Literal["mean", "vote"] = "mean"
    vote_threshold: float = 0.5


MEAN = Combination()


class Predictor:
    """An ensemble of groups of networks, such as the folds of several experiments.

    The map is the weighted mean over groups of the mean over a group's networks; by vote, of the share of a group's
    networks whose probability is above the threshold, each at the original size. A group's image probability is the
    mean of what its networks say where all say one, else the highest of its mean map (also by vote: a share of few
    votes cannot rank images); the weighted mean over groups is the image's. Where no group gives one (``use: map``
    alone), it is the highest of the map. Networks of a family without maps give the image probability alone.

    One image after the other would move every network for every image, one network after the other would keep every
    map: so images come in blocks, each network runs over a whole block, and its maps are added up there. Memory holds
    the running sums of one block, whatever the number of images and networks.
    """

    def __init__(self, groups: Sequence[Group], runner: Runner | None = None, combination: Combination = MEAN) -> None:
        """Several groups, run by one runner; by default on the CPU, as the images are.

        Raises:
            DataError: a group has no network, all count for the image alone, or some give maps and others do not.
        """
        mapping = [group.gives_map for group in groups if group.use != "image"]
        if not mapping or not all(group.networks for group in groups):
            raise DataError("no trained model to predict with; run dvc repro train")
        if len(set(mapping)) > 1:
            raise DataError("networks that give no map can predict along with others by their image probability alone")
        self.gives_map = mapping[0]
        everything = [network for group in groups for network in group.networks]
        #: Whether a part of an image may be seen by none of the networks that give the map.
        self.crops = self.gives_map and all(
            network.lungs is not None for group in groups if group.use != "image" for network in group.networks
        )
        #: Whether lung masks change what networks see.
        self.asks_for_lungs = any(network.lungs is not None and network.lungs.by_masks for network in everything)
        # By vote a map says how many agree, which no score of a single finding does.
        self.tells_apart = combination.kind == "mean" and all(
            group.tells_apart for group in groups if group.use != "image"
        )
        self._groups = tuple(groups)
        self._runner = runner or Runner()
        self._combination = combination
        self.block_batches = 1 if self._runner.make_room(everything) else BLOCK_BATCHES

    @classmethod
    def load(
        cls,
        folders: Sequence[Path],
        device: Device = "cpu",
        precision: Precision = "fp32",
        *,
        horizontal_flip: bool = False,
        scales: tuple[float, ...] = (1.0,),
    ) -> Self:
        """The mean over folders of folds, each with weights.safetensors, model.json and perhaps further checkpoints."""
        networks = tuple(network for folder in folders for network in load_networks(Path(folder)))
        views = Views(horizontal_flip, scales)
        for network in networks:
            views.check(network)
        return cls([Group(networks)], Runner(device, precision, views))

    def __call__(
        self,
        images: Sequence[Shown],
        sizes: Sequence[Shape] | None = None,
        batch_size: int | None = None,
        lungs: Sequence[NDArray[np.uint8] | None] | None = None,
    ) -> list[Answer]:
        """Predict radiographs.

        Args:
            images: each (H, W) uint8 or uint16, or a study's frontal and lateral view; a block.
            sizes: (rows, columns) that each map is brought to; the image's own by default.
            batch_size: images in the network at once; all by default.
            lungs: the lung mask of each, None where there is none; for networks that see the lungs by masks.

        Returns:
            for each image its map, (rows, columns) float32 probabilities in [0, 1], where the networks give one, and
            the probability of pneumothorax in the image; the findings where all networks that give the map tell them
            apart.
        """
        fronts = [front_of(image) for image in images]
        shapes = [(front.shape[0], front.shape[1]) for front in fronts] if sizes is None else list(sizes)
        maps: list[Map] = []
        beside: list[list[_Beside]] = [[] for _ in images]
        scores = [0.0] * len(images)
        findings: list[_Weighted] = [[] for _ in images]
        boxes: list[Box | None] = [None] * len(images)
        map_weight = sum(group.weight for group in self._groups if group.use != "image")
        image_weight = sum(group.weight for group in self._groups if group.use != "map")
        for group in self._groups:
            parts, said, found, others = self._run(group, images, shapes, batch_size or len(images), lungs, boxes)
            if group.use != "map" and not self.gives_map:
                for kept, other in zip(beside, others, strict=True):
                    kept += [one.weighted(group.weight / len(group.networks)) for one in other]
            if group.use != "map":
                scores = [
                    total + group.weight / image_weight * score for total, score in zip(scores, said, strict=True)
                ]
            if group.use != "image":
                if group.weight != map_weight:
                    parts = [np.float32(group.weight / map_weight) * part for part in parts]
                maps = [total + part for total, part in zip(maps, parts, strict=True)] if maps else parts
                for image, own in zip(findings, found, strict=True):
                    image += [(group.weight / map_weight * share, one) for share, one in own]
        if not image_weight:
            scores = [float(total.max()) for total in maps]
        return [
            Answer(
                score,
                maps[index] if maps else None,
                united(findings[index]) if self.tells_apart else None,
                *_mean_beside(beside[index]),
                boxes[index] if self.crops else None,
            )
            for index, score in enumerate(scores)
        ]

    def _run(
        self,
        group: Group,
        images: Sequence[Shown],
        shapes: Sequence[Shape],
        batch_size: int,
        lungs: Sequence[NDArray[np.uint8] | None] | None,
        boxes: list[Box | None],
    ) -> tuple[list[Map], list[float], list[_Weighted], list[list[_Beside]]]:
        sums = _Sums(group, shapes, self._combination)
        found: list[_Weighted] = [[] for _ in images]
        for network in group.networks:
            with self._runner.on_device(network):
                for start in range(0, len(images), batch_size):
                    batch = images[start : start + batch_size]
                    indices = range(start, start + len(batch))
                    views = self._runner.predict(network, batch, lungs and lungs[start : start + len(batch)])
                    if group.use != "image":
                        _widen(boxes, indices, views[0].boxes)
                    sums.add(indices, views)
                    if self.tells_apart and group.use != "image":
                        _collect(found, indices, views, shapes, 1 / len(group.networks))
        return *sums.finish(), found, sums.beside


#: Of an image, the weight and the findings of each network, or of each view that one had.
_Weighted = list[tuple[float, list[Finding]]]


def _collect(
    found: list[_Weighted], indices: range, views: Sequence[View], shapes: Sequence[Shape], share: float
) -> None:
    """Add the findings of one network in some images, whose weight is shared by its views."""
    turned = [(view.boxes, said) for view in views for said in view.detections or ()]
    for number, index in enumerate(indices):
        for boxes, said in turned:
            own = said[number] if boxes is None else [one.within(boxes[number]) for one in said[number]]
            found[index].append((share / len(turned), [Finding.of(one, *shapes[index]) for one in own]))


def _widen(boxes: list[Box | None], indices: range, seen: list[Box] | None) -> None:
    """Note what a network saw of some images."""
    for number, index in enumerate(indices):
        box, before = Box() if seen is None else seen[number], boxes[index]
        boxes[index] = box if before is None else before.around(box)


@dataclass(frozen=True)
class _Beside:
    """What one network tells of an image beside probability and map, and how much it counts."""

    looked: Map | None
    outputs: Mapping[str, float] | None
    weight: float = 1.0

    @classmethod
    def of(cls, views: Sequence[View], number: int) -> _Beside:
        """Of an image, where the network looked at the first of its scales, and the mean of its outputs over all."""
        first, given = views[0], [view.outputs for view in views if view.outputs is not None]
        outputs = {name: float(np.mean([one[name][number] for one in given])) for name in (first.outputs or ())}
        looked = None if first.looked is None else first.looked[number]
        if looked is not None and first.boxes is not None:
            box = first.boxes[number]
            looked = box.paste(resize(looked, *box.size(STEPS, STEPS)), STEPS, STEPS)
        return cls(looked, outputs or None)

    def weighted(self, weight: float) -> _Beside:
        """The same with another weight."""
        return replace(self, weight=weight)


def _mean_beside(parts: Sequence[_Beside]) -> tuple[Map | None, dict[str, float] | None]:
    """The weighted mean of what networks looked at, on the grid of the first, and of their outputs; None: not all."""
    total = sum(part.weight for part in parts)
    grids = [(part.weight / total, part.looked) for part in parts if part.looked is not None]
    named = [(part.weight / total, part.outputs) for part in parts if part.outputs is not None]
    looked, outputs = None, None
    if grids and len(grids) == len(parts):
        shape = grids[0][1].shape
        looked = sum((np.float32(w) * resize(grid, *shape) for w, grid in grids), np.zeros(shape, np.float32))
    if named and len({frozenset(one) for _, one in named}) == 1 and len(named) == len(parts):
        outputs = {name: sum(w * one[name] for w, one in named) for name in named[0][1]}
    return looked, outputs


class _Sums:
    """The running sums of a group's networks over a block of images."""

    def __init__(self, group: Group, shapes: Sequence[Shape], combination: Combination) -> None:
        mapping = group.use != "image" and group.gives_map
        voting = mapping and combination.kind == "vote"
        averaging = (mapping and not voting) or (group.use != "map" and not group.gives_image)
        self._shapes = shapes
        self.beside: list[list[_Beside]] = [[] for _ in shapes]
        self._count = np.float32(len(group.networks))
        self._threshold = np.float32(combination.vote_threshold)
        self._said = np.zeros(len(shapes), np.float32) if group.gives_image else None
        self._means: list[Map | None] = [None for _ in shapes] if averaging else []
        self._votes: list[Map | None] = [None for _ in shapes] if voting else []

    def add(self, indices: range, views: Sequence[View]) -> None:
        """Add what one network says of images."""
        if self._said is not None:
            said = np.stack([view.said for view in views if view.said is not None])
            self._said[indices.start : indices.stop] += said.mean(axis=0)
        for number, index in enumerate(indices):
            self.beside[index].append(_Beside.of(views, number))
        if not self._means and not self._votes:
            return
        if len(indices) == 1:
            self._add_map(views, 0, indices[0])
            return
        # Enlarging takes longer than the network on a GPU; OpenCV and numpy let go of the interpreter's lock.
        with ThreadPoolExecutor(min(len(indices), available_cores())) as pool:
            list(pool.map(partial(self._add_map, views), range(len(indices)), indices))

    def _add_map(self, views: Sequence[View], number: int, index: int) -> None:
        """Enlarge the map of an image, ``number`` of the batch and ``index`` of the block, and add it up."""
        maps = [view.maps[number] for view in views if view.maps is not None]
        boxes = views[0].boxes
        probability = _mean_of_scales(maps, self._shapes[index], None if boxes is None else boxes[number])
        if self._means:
            self._means[index] = _sum(self._means[index], probability)
        if self._votes:
            vote = (probability > self._threshold).astype(np.float32)
            self._votes[index] = _sum(self._votes[index], vote)

    def finish(self) -> tuple[list[Map], list[float]]:
        """Mean or share of votes, and probability of pneumothorax, for each image; the sums are used up."""
        means, votes = ([total for total in sums if total is not None] for sums in (self._means, self._votes))
        if self._count != 1:
            for total in (*means, *votes):
                total /= self._count
        said = self._said
        scores = [float(total.max()) for total in means] if said is None else (said / self._count).tolist()
        return votes or means, scores


def _sum(total: Map | None, part: Map) -> Map:
    """In place, but for the first."""
    if total is None:
        return part
    total += part
    return total


def _mean_of_scales(maps: Sequence[Map], shape: Shape, box: Box | None) -> Map:
    """Bring one network's maps of different sizes to the radiograph's size, and take their mean there."""
    if box is not None:
        return box.paste(_mean_of_scales(maps, box.size(*shape), None), *shape)
    total, *others = (restore_map(probability, *shape) for probability in maps)
    for other in others:
        total = total + other
    return total / np.float32(len(maps)) if others else total
