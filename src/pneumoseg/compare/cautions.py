"""What a reader must know before believing a comparison, in sentences, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pneumoseg.compare.configuration_rows import DATA, Row
from pneumoseg.compare.experiments import Experiment
from pneumoseg.compare.pairing import Leak, Pairing
from pneumoseg.report.parts import count_of, listed, sentence
from pneumoseg.shared.tables import unknown_patient
from pneumoseg.stats.bootstrap import FEW


@dataclass(frozen=True)
class Caution:
    """A sentence; ``grave``: it may turn the result over, so it stands before it."""

    text: str
    grave: bool


def write_cautions(
    experiments: Sequence[Experiment], pairing: Pairing, leaks: Sequence[Leak], data: Sequence[Row]
) -> tuple[Caution, ...]:
    """All that apply; none where the comparison is as it should be."""
    grave = [
        *_leaked(leaks),
        *_test_sets(experiments, pairing),
        *_data(experiments, data),
        *_group(experiments, [item.doubts for item in experiments]),
    ]
    others = [
        *_same_commit(experiments),
        *_patients(experiments, pairing),
        *_few(pairing),
        *_unknown_data(experiments, data),
        *_unknown_leaks(leaks),
        *_group(experiments, [item.unknowns for item in experiments]),
    ]
    found = [(text, True) for text in grave] + [(text, False) for text in others]
    return tuple(Caution(sentence(text), heavy) for text, heavy in found)


def _leaked(leaks: Sequence[Leak]) -> Iterator[str]:
    for leak in leaks:
        if leak.images:
            yield (
                f"leak: {leak.experiment} trained, or chose its epoch or decision rule, on "
                f"{count_of(leak.images, 'compared image')} or on other images of their patients "
                f"({count_of(leak.patients, 'patient')}): its figures flatter it"
            )


def _unknown_leaks(leaks: Sequence[Leak]) -> Iterator[str]:
    unknown = [leak.experiment for leak in leaks if not leak.known]
    if unknown:
        yield (
            f"whether {listed(unknown)} trained on a compared image or patient is unknown: data/splits/folds.csv is "
            "not in DVC's cache (dvc pull, or dvc repro split there)"
        )


def _test_sets(experiments: Sequence[Experiment], pairing: Pairing) -> Iterator[str]:
    for item in experiments:
        parts = [
            f"{count_of(entry.images, 'image')} of {count_of(entry.patients, 'patient')} ({entry.reason})"
            for entry in pairing.left_out
            if entry.experiment == item.name
        ]
        if parts:
            yield (
                f"the test sets are not the same: of {count_of(len(item.cases), 'test image')} of {item.name}, "
                f"{listed(parts)} {'is' if parts[0].startswith('1 ') and len(parts) == 1 else 'are'} left out"
            )
    marks = {item.name: bool(item.cases["phantom"].fillna(0).any()) for item in experiments}
    if len(set(marks.values())) > 1:
        names = [name for name, phantom in marks.items() if phantom]
        yield f"the test set of {listed(names)} holds phantoms, that of the others none"


def _data(experiments: Sequence[Experiment], rows: Sequence[Row]) -> Iterator[str]:
    differing = [row.key for row in rows if row.differs]
    if differing:
        yield (
            f"the data differ ({listed([DATA[key] for key in differing])}): a difference of the figures may come from "
            "them, not from the method"
        )


def _unknown_data(experiments: Sequence[Experiment], rows: Sequence[Row]) -> Iterator[str]:
    unknown = [
        item.name for index, item in enumerate(experiments) if any(row.values[index] == "unknown" for row in rows)
    ]
    if unknown:
        yield f"which data {listed(unknown)} used is not known: dvc.lock does not say"


def _group(experiments: Sequence[Experiment], texts: Sequence[Sequence[str]]) -> Iterator[str]:
    """What is said of several experiments alike is said once."""
    whose: dict[str, list[str]] = {}
    for item, said in zip(experiments, texts, strict=True):
        for text in said:
            whose.setdefault(text, []).append(item.name)
    yield from (f"in {listed(names)}: {text}" for text, names in whose.items())


def _same_commit(experiments: Sequence[Experiment]) -> Iterator[str]:
    by_commit: dict[str, list[str]] = {}
    for item in experiments:
        if item.sha:
            by_commit.setdefault(item.sha, []).append(item.name)
    yield from (
        f"the same commit: {listed(names)}; no difference is to be expected"
        for names in by_commit.values()
        if len(names) > 1
    )


def _patients(experiments: Sequence[Experiment], pairing: Pairing) -> Iterator[str]:
    if pairing.regrouped:
        yield (
            "the experiments put images together into patients in different ways; images that any of them puts "
            "together were resampled together"
        )
    first = experiments[0]
    patients = first.cases.loc[list(pairing.ids), "patient"]
    # A map's patients have such names too: who of them is unknown cannot be told.
    mapped = first.setting("split.patient_map") not in ("", "null")
    alone = 0 if mapped else int(patients.str.startswith(unknown_patient("")).sum())
    if alone:
        yield (
            f"{count_of(alone, 'image')} of {len(pairing.ids):,} have no known patient and count as patients of "
            "their own, or of their study: if some are of one patient, the intervals are too narrow"
        )


def _few(pairing: Pairing) -> Iterator[str]:
    count = pairing.patients_of(pairing.positive)
    if not count:
        yield "no compared image has a pneumothorax: nothing can be said of finding or outlining one"
    elif count < FEW:
        yield (
            f"only {count_of(count, 'patient')} with pneumothorax: intervals are rough, and all but a large difference "
            "would be missed"
        )
