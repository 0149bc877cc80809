"""What experiments differ in: parameters, data and code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pneumoseg.compare.experiments import Experiment
from pneumoseg.shared.fingerprints import CODE

#: Data by what they are called; where any differs, the experiments did not learn or were not judged on the same.
DATA: Final[Mapping[str, str]] = {
    "data/images": "images",
    "data/masks": "masks",
    "data/metadata.csv": "metadata",
    "data/annotations.csv": "annotations",
    "data/splits/folds.csv": "folds and test set",
}
_ABSENT: Final = "not there"
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Row:
    """One key with its value in each experiment, in their order."""

    key: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether any two known values differ."""
        return len(set(self.values) - {_UNKNOWN}) > 1

    @property
    def known(self) -> bool:
        """Whether every experiment's value is known."""
        return _UNKNOWN not in self.values


def parameter_rows(experiments: Sequence[Experiment]) -> tuple[Row, ...]:
    """The parameters that differ, in the order of the first file that has them."""
    keys = dict.fromkeys(key for item in experiments for key in item.settings)
    rows = (Row(key, tuple(item.settings.get(key, _ABSENT) for item in experiments)) for key in keys)
    return tuple(row for row in rows if row.differs)


def data_rows(experiments: Sequence[Experiment]) -> tuple[Row, ...]:
    """MD5 of the data as dvc.lock has it: of the output, else as a stage read it."""
    found = []
    for path in DATA:
        values = []
        for item in experiments:
            held = [stage.outs[path] for stage in item.stages.values() if path in stage.outs]
            read = [stage.deps[path] for stage in item.stages.values() if path in stage.deps]
            values.append((held + read or [_UNKNOWN])[0])
        found.append(Row(path, tuple(values)))
    return tuple(found)


def code_rows(experiments: Sequence[Experiment]) -> tuple[Row, ...]:
    """Code and pinned packages that differ, as the stages ran with them."""
    locked = [
        {
            path: md5
            for stage in item.stages.values()
            for path, md5 in stage.deps.items()
            if path.startswith(CODE) or path == "requirements.lock"
        }
        for item in experiments
    ]
    # Where dvc.lock says nothing at all, nothing is known; a single path may just not have been there.
    rows = (
        Row(path, tuple(held.get(path, _ABSENT) if held else _UNKNOWN for held in locked))
        for path in sorted(set().union(*locked))
    )
    return tuple(row for row in rows if row.differs)
