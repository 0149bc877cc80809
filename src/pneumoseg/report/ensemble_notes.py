"""What was combined where more than one network a fold predicts: data/predictions/members.json in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pneumoseg.report.parts import count_of, listed
from pneumoseg.shared.files import read_object
from pneumoseg.shared.layout import Layout

_USES: Final = {"both": "masks and image probability", "map": "masks alone", "image": "image probability alone"}


def read_ensemble(layout: Layout) -> Mapping[str, Any] | None:
    """The content of members.json; None where every fold has one network and no experiment joined in.

    Raises:
        DataError: the file is damaged.
    """
    path = layout.members
    return read_object(path) if path.is_file() else None


def ensemble_points(layout: Layout) -> Iterator[str]:
    """The members of the ensemble and how they were combined, a sentence each; none without members.json."""
    content = read_ensemble(layout)
    if content is None:
        return
    own, members = content["own"], content["members"]
    way = "weighted mean of probability maps"
    if content["combine"] == "vote":
        way = f"weighted share of networks whose probability is above {content['vote_threshold']:g}"
    yield (
        f"Predictions are those of an ensemble ({way}); the encoder and weights above are this run's alone. "
        "Validation images are predicted only by networks that have seen neither them nor their patients."
        if members
        else f"Predictions are those of several checkpoints of each fold ({way})."
    )
    if own["weight"]:
        yield f"This run: {_networks(own)}, weight {own['weight']:g}."
    else:
        yield "This run's own networks have no part in the predictions (predict.own_weight = 0)."
    for member in members:
        sha = f" ({member['sha'][:10]})" if member["sha"] else ""
        yield (
            f"Member {member['source']}{sha}: {_networks(member)}, weight {member['weight']:g}, "
            f"{_USES.get(member['use'], member['use'])}.{_unsure(member)}"
        )


def others_joined(layout: Layout) -> str:
    """Such as `` and 2 other experiments``; empty where this run predicts alone."""
    members = {member["source"] for member in (read_ensemble(layout) or {}).get("members", ())}
    return f" and {count_of(len(members), 'other experiment')}" if members else ""


def ensemble_fingerprints(layout: Layout) -> Iterator[tuple[str, str]]:
    """Name and digest for each member, to tell that its weights are still the same."""
    for member in (read_ensemble(layout) or {}).get("members", ()):
        if member["sha"]:
            yield f"member {member['source']}, commit", str(member["sha"])
        yield f"member {member['source']}, weights and descriptions", str(member["weights_sha256"])


def _networks(part: Mapping[str, Any]) -> str:
    folds = listed([str(fold) for fold in part["folds"]])
    plural = "s" if len(part["folds"]) > 1 else ""
    return f"{count_of(part['networks'], 'network')} ({' and '.join(part['models'])}) of fold{plural} {folds}"


def _unsure(member: Mapping[str, Any]) -> str:
    """A member may have started from weights whose own training images nobody here knows."""
    files = [start for start in member["started_from"] if start.startswith("…/")]
    return f" It started from {listed(files)}; what those weights had seen is not known." if files else ""
