"""Every network that predicts, loaded: this run's folds and checkpoints, and those of predict.members."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.config.predict import PredictParams
from pneumoseg.config.runtime import RuntimeParams
from pneumoseg.predict.members import Member, Own, describe_ensemble, digest_models, load_member
from pneumoseg.predict.planning import Task
from pneumoseg.predict.predictor import Combination, Group, Predictor
from pneumoseg.predict.runner import Network, Runner, Views, load_networks
from pneumoseg.shared.devices import choose_device, choose_precision
from pneumoseg.shared.files import digest_bytes


@dataclass(frozen=True)
class Ensemble:
    """All networks, loaded: this run's, and those of members."""

    params: PredictParams
    runner: Runner
    own: Mapping[int, tuple[Network, ...]]
    members: tuple[Member, ...]
    networks: tuple[Mapping[int, tuple[Network, ...]], ...]  # of each member
    digests: tuple[str, ...]  # of this run's networks and of each member's

    def predictor(self, task: Task) -> Predictor:
        """The networks that predict a task."""
        groups = []
        if self.params.own_weight:
            groups.append(Group(_of_folds(self.own, task.members), self.params.own_weight))
        for member, networks, folds in zip(self.members, self.networks, task.others, strict=True):
            groups.append(Group(_of_folds(networks, folds), member.params.weight, member.params.use))
        combination = Combination(self.params.combine, self.params.vote_threshold)
        return Predictor.of_groups(groups, self.runner, combination)

    @property
    def is_several(self) -> bool:
        """Whether anything beyond one network a fold predicts."""
        return bool(self.members) or any(len(networks) > 1 for networks in self.own.values())

    @property
    def description(self) -> dict[str, object]:
        """The content of members.json."""
        return describe_ensemble(self.params, self.own, self.members, self.networks, self.digests)

    def fingerprint(self, tasks: Sequence[Task], metadata: Path, code: str) -> str:
        """Digest of all that maps depend on; metadata.csv stands for the images, whose pixels' digests it has."""
        settings = [self.params.model_dump(mode="json"), self.runner.device, self.runner.precision]
        return digest_bytes(
            json.dumps(settings, sort_keys=True).encode(),
            *(digest.encode() for digest in self.digests),
            repr(tasks).encode(),
            metadata.read_bytes(),
            code.encode(),
        )


def load_ensemble(own: Own, members: Sequence[Member], params: PredictParams, runtime: RuntimeParams) -> Ensemble:
    """Read all networks into main memory; this run's only where they count.

    Raises:
        DataError: a file is missing or damaged.
        ParameterError: a network cannot take one of the scales, or there is no such device.
    """
    device = choose_device(runtime.device)
    precision = choose_precision(runtime.precision or params.precision, device)
    views = Views(params.horizontal_flip, params.scales)
    networks = {fold: load_networks(folder) for fold, folder in own.folders.items()} if params.own_weight else {}
    others = tuple(load_member(member) for member in members)
    for by_fold in (networks, *others):
        for network in _of_folds(by_fold, by_fold):
            views.check(network)
    digests = (digest_models(own.folders) if params.own_weight else "", *(digest_models(m.folders) for m in members))
    return Ensemble(params, Runner(device, precision, views), networks, tuple(members), others, digests)


def _of_folds(networks: Mapping[int, tuple[Network, ...]], folds: Iterable[int]) -> tuple[Network, ...]:
    return tuple(network for fold in folds for network in networks[fold])
