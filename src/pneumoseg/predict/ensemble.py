"""Every network that predicts, loaded: this run's folds and checkpoints, and those of predict.members."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoseg.config.predict import PredictParams, Use
from pneumoseg.config.runtime import RuntimeParams
from pneumoseg.networks.storage import SPEC_FILE
from pneumoseg.networks.weights import WEIGHTS_FILE
from pneumoseg.predict.members import Member
from pneumoseg.predict.planning import Task
from pneumoseg.predict.predictor import Combination, Group, Predictor
from pneumoseg.predict.runner import Runner, TrainedNetwork, Views, load_networks, model_folders
from pneumoseg.shared.devices import choose_device, choose_precision, use_threads
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes, digest_files
from pneumoseg.shared.fingerprints import package_code

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """The networks of one experiment.

    Attributes:
        networks: by the fold that they left out.
        weight: of the experiment among others.
        use: what of their answers counts.
        digest: of all weights and descriptions, whatever folder they lie in; empty where there are none.
    """

    networks: Mapping[int, tuple[TrainedNetwork, ...]]
    weight: float
    use: Use
    digest: str

    @property
    def every(self) -> list[TrainedNetwork]:
        """All networks, in the order of folds and checkpoints."""
        return [network for fold in sorted(self.networks) for network in self.networks[fold]]

    @property
    def gives_map(self) -> bool:
        """Whether they give maps."""
        return all(network.family.gives_map for network in self.every)

    def describe(self) -> dict[str, Any]:
        """What they are, for members.json."""
        specs = [network.spec.params for network in self.every]
        starts = sorted({spec.weights or "random" for spec in specs})
        return {
            "folds": sorted(self.networks),
            "networks": len(specs),
            "models": sorted({f"{spec.architecture}, {spec.encoder}" for spec in specs}),
            "started_from": [f"…/{Path(start).name}" if started_from_file(start) else start for start in starts],
            "weights_sha256": self.digest or None,
        }


@dataclass(frozen=True)
class Ensemble:
    """This run's networks, if they count, and those of members."""

    params: PredictParams
    runner: Runner
    own: Experiment
    members: tuple[Member, ...]
    loaded: tuple[Experiment, ...]  # of each member

    def predictor(self, task: Task) -> Predictor:
        """The networks that predict a task."""
        groups = [
            Group(task.choose(experiment.networks), experiment.weight, experiment.use)
            for experiment in (self.own, *self.loaded)
            if experiment.weight
        ]
        return Predictor(groups, self.runner, Combination(self.params.combine, self.params.vote_threshold))

    @property
    def takes_laterals(self) -> bool:
        """Whether any network looks at a study's view from the side too."""
        return any(network.model.views > 1 for one in (self.own, *self.loaded) for network in one.every)

    @property
    def is_several(self) -> bool:
        """Whether anything beyond one network a fold predicts."""
        return bool(self.members) or any(len(networks) > 1 for networks in self.own.networks.values())

    def describe(self) -> dict[str, Any]:
        """The content of members.json: what was combined, so that a report can say so when branches have moved on."""
        return {
            "combine": self.params.combine,
            "vote_threshold": self.params.vote_threshold if self.params.combine == "vote" else None,
            "own": {"weight": self.own.weight, **self.own.describe()},
            "members": [
                {
                    "source": member.name,
                    "sha": member.sha,
                    "experiment": member.experiment,
                    "weight": experiment.weight,
                    "use": experiment.use,
                    **experiment.describe(),
                }
                for member, experiment in zip(self.members, self.loaded, strict=True)
            ],
        }

    def fingerprint(self, tasks: Sequence[Task], metadata: Path) -> str:
        """Digest of all that maps depend on; metadata.csv stands for the images, whose pixels' digests it has."""
        settings = [self.params.model_dump(mode="json"), self.runner.device, self.runner.precision]
        digests = [experiment.digest for experiment in (self.own, *self.loaded)]
        parts = [json.dumps([*settings, *digests], sort_keys=True), repr(tasks), package_code()]
        return digest_bytes(*(part.encode() for part in parts), metadata.read_bytes())


def load_ensemble(
    own: Mapping[int, Path], members: Sequence[Member], params: PredictParams, runtime: RuntimeParams
) -> Ensemble:
    """Read all networks into main memory; this run's only where they count.

    Args:
        own: this run's model folders by the fold that they left out.
        members: of predict.members.
        params: section predict.
        runtime: section runtime.

    Raises:
        DataError: a file is missing or damaged.
        ParameterError: a network cannot take one of the scales, or there is no such device.
    """
    device = choose_device(runtime.device)
    use_threads(runtime.threads)
    views = Views(params.horizontal_flip, params.scales)
    mine = _load(own if params.own_weight else {}, params.own_weight, "both", views)
    loaded = []
    for member in members:
        with member.told():
            experiment = _load(member.folders, member.params.weight, member.params.use, views)
        for start in sorted({network.spec.params.weights or "" for network in experiment.every}):
            if started_from_file(start):
                logger.warning(
                    "predict.members, %s: started from %s; nobody can tell whether images of this run were among what "
                    "those weights had seen",
                    member.name,
                    Path(start).name,
                )
        loaded.append(experiment)
    _check_maps(mine, members, loaded)
    runner = Runner(device, choose_precision(runtime.precision or params.precision, device), views)
    return Ensemble(params, runner, mine, tuple(members), tuple(loaded))


def _check_maps(own: Experiment, members: Sequence[Member], loaded: Sequence[Experiment]) -> None:
    """Refuse to mix networks that give a map with others that give none, where maps of both would count.

    Raises:
        DataError: names the member, and the use that can be had.
    """
    mapping = {experiment.gives_map for experiment in (own, *loaded) if experiment.weight and experiment.use != "image"}
    for member, experiment in zip(members, loaded, strict=True):
        if not experiment.gives_map and (experiment.use == "map" or (experiment.use == "both" and True in mapping)):
            raise DataError(
                f"predict.members, {member.name}: use = {experiment.use}, but its networks give no map, only the "
                "probability of pneumothorax in the image; set use: image"
            )
        if own.weight and not own.gives_map and experiment.use != "image" and experiment.gives_map:
            raise DataError(
                f"predict.members, {member.name}: use = {experiment.use}, but this run's own networks give no map that "
                "its maps could be combined with; set use: image, or predict.own_weight: 0.0"
            )


def _load(folders: Mapping[int, Path], weight: float, use: Use, views: Views) -> Experiment:
    networks = {fold: load_networks(folder) for fold, folder in folders.items()}
    experiment = Experiment(networks, weight, use, _digest(folders) if folders else "")
    for network in experiment.every:
        views.check(network)
    return experiment


def _digest(folders: Mapping[int, Path]) -> str:
    root = next(iter(folders.values())).parent
    found = [folder for fold in sorted(folders) for folder in model_folders(folders[fold])]
    return digest_files([folder / name for folder in found for name in (WEIGHTS_FILE, SPEC_FILE)], root)


def started_from_file(weights: str) -> bool:
    """Whether model.weights names a file or folder, not a published set (imagenet …)."""
    return "/" in weights or "\\" in weights or weights.endswith(".safetensors")
