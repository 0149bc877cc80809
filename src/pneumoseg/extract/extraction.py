"""The stage extract: every candidate file of a folder to a PNG and a row, or to a row of rejected.csv."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydicom import uid

from pneumoseg.config.data import DataParams
from pneumoseg.config.extract import ExtractParams
from pneumoseg.extract.one_file import Job, Outcome, crashed, extract_one
from pneumoseg.radiographs.identity import PUBLIC_HASH_KEY, hash_key
from pneumoseg.radiographs.rules import DOUBTFUL, FLAGS, JUNK, REFUSALS
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import fresh_dir, say_empty, write_json, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.parallel import check_scheduler, run_all
from pneumoseg.shared.tables import METADATA, REJECTED, write_table
from pneumoseg.sources.candidates import count_passed_over
from pneumoseg.sources.lung_masks import lung_masks
from pneumoseg.sources.source import DataSet, source_of
from pneumoseg.sources.truth import Size

_LOGGER = logging.getLogger(__name__)
_NAMES_SHOWN = 10  # of the files of one flag, in the log


def extract(layout: Layout, data: DataParams, params: ExtractParams, workers: int | None) -> None:
    """Turn all radiographs of a source into PNGs and tables; the same for any number of workers.

    Args:
        layout: images and lungs (emptied first), metadata, rejected and extract_counts are written.
        data: section data, or a set of evaluate.external.
        params: section extract.
        workers: processes; None one for each core. 0 is one, too: it takes the crash of a decoder.

    Raises:
        DataError: no candidate, no image, or too many refused files; in the latter two cases all tables are written.
        ParameterError: extract.scheduler or the key of patient ids cannot be used.
    """
    key = hash_key()
    root = layout.root / data.root
    data_set = DataSet.of(layout, data)
    items = source_of(data).images(data_set)
    check_scheduler(params.scheduler)  # before anything is deleted
    images, lungs = (fresh_dir(path).absolute() for path in (layout.images, layout.lungs))
    job = Job(data_set.root, images, lungs, params, key)
    work, lost = partial(extract_one, job), partial(crashed, job)
    # Never in this process: a codec that crashes on a damaged frame would end the stage.
    workers = 1 if workers == 0 else workers
    outcomes = run_all(work, items, lost, workers, "extract", params.scheduler, "file")
    outcomes = _settle_shared_ids(outcomes, (layout.images, layout.lungs))
    kept = [outcome for outcome in outcomes if outcome.row is not None]
    refused = [outcome for outcome in outcomes if outcome.row is None]
    refused += [other for outcome in kept for other in outcome.beside]
    if data.lungs is not None:
        refused += _write_lungs(layout, layout.root / data.lungs, kept)
    say_empty(layout.lungs)
    rows = pd.DataFrame([outcome.row for outcome in kept], columns=list(METADATA))
    write_table(layout.metadata, rows.sort_values("image_id", ignore_index=True), METADATA)
    reasons = [(outcome.source, outcome.image_id, outcome.reason) for outcome in refused]
    write_table(layout.rejected, pd.DataFrame(sorted(reasons), columns=list(REJECTED)), REJECTED)
    files = [item.file for item in items if isinstance(item.file, Path)]
    passed_over = count_passed_over(data_set.root, files) if files else {}  # of an archive, nothing is
    write_json(layout.extract_counts, {**_count(kept, refused, key), "passed_over": passed_over})
    if passed_over:
        told = ", ".join(f"{suffix} {count}" for suffix, count in passed_over.items())
        _LOGGER.info("%d other files below %s passed over, by suffix: %s", sum(passed_over.values()), root, told)
    _name_doubtful(kept)
    _judge(root, layout.rejected, kept, refused, params.max_rejected_fraction)


def _write_lungs(layout: Layout, path: Path, kept: Sequence[Outcome]) -> list[Outcome]:
    """Write the lung masks of data.lungs; gives those that cannot be used."""
    rows = {outcome.image_id: outcome.row for outcome in kept if outcome.row is not None}
    sizes = {name: Size(int(row["rows"] or 0), int(row["columns"] or 0)) for name, row in rows.items()}
    refused, found = [], 0
    for one in lung_masks(path, sizes):
        if one.mask is None:
            refused.append(Outcome(one.source, one.image_id, kind="lung_mask", reason=f"lungs: {one.reason}"))
            continue
        write_png(layout.lungs / f"{one.image_id}.png", one.mask.view(np.uint8) * np.uint8(255))
        found += 1
    tell = _LOGGER.info if found else _LOGGER.warning
    tell("data.lungs = %s: lung masks of %d of %d images, %d cannot be used", path, found, len(rows), len(refused))
    return refused


def _settle_shared_ids(outcomes: Sequence[Outcome], folders: Sequence[Path]) -> list[Outcome]:
    """Of files that share an id, keep the first if all have the same pixels, else none (and delete their PNGs).

    Ids that differ in case only are taken for shared: on some file systems their PNGs would be the same file.
    """
    sharing: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.row is not None:
            sharing[outcome.image_id.casefold()].append(outcome)
    settled = [outcome for outcome in outcomes if outcome.row is None]
    for first, *others in sharing.values():
        identical = {(outcome.image_id, (outcome.row or {})["pixels_sha256"]) for outcome in (first, *others)}
        if len(identical) == 1:
            settled.append(first)
            settled += [
                _refused(other, "duplicate", f"duplicate of {first.source}: same id, same pixels") for other in others
            ]
            continue
        for outcome in (first, *others):
            for folder in folders:
                (folder / f"{outcome.image_id}.png").unlink(missing_ok=True)
            rivals = sorted(other.source for other in (first, *others) if other is not outcome)
            more = f" and {len(rivals) - 1} more" if len(rivals) > 1 else ""
            settled.append(
                _refused(outcome, "conflict", f"same id as {rivals[0]}{more}, other pixels: which is meant is unknown")
            )
    return sorted(settled, key=lambda outcome: outcome.source)


def _refused(outcome: Outcome, kind: str, reason: str) -> Outcome:
    return Outcome(outcome.source, outcome.image_id, kind=kind, reason=reason)


def _count(kept: Sequence[Outcome], refused: Sequence[Outcome], key: bytes) -> dict[str, Any]:
    """The content of metrics/extract.json; every rule is listed, those that met no file with 0."""
    kinds = Counter(outcome.kind for outcome in refused)
    flags = Counter(flag for outcome in kept for flag in outcome.flags)
    rows = [outcome.row for outcome in kept if outcome.row is not None]
    names = Counter(_syntax_name(str(row["transfer_syntax"])) for row in rows)
    photometric = Counter(str(row["photometric"]) for row in rows)
    return {
        "candidates": len(kept) + len(refused),
        "extracted": len(kept),
        "rejected": len(refused),
        "phantom_images": sum(row["phantom"] == 1 for row in rows),
        "patient_hash_key": "public" if key == PUBLIC_HASH_KEY.encode() else "own",
        "rejected_by_reason": {kind: kinds[kind] for kind in REFUSALS},
        "flags": {flag: flags[flag] for flag in FLAGS},
        "photometric": dict(sorted(photometric.items())),
        "transfer_syntax": dict(sorted(names.items())),
    }


def _syntax_name(syntax: str) -> str:
    """As in PS3.6; of files that are no DICOM their kind, as it is."""
    return syntax if syntax.isalpha() else uid.UID(syntax).name


def _name_doubtful(kept: Sequence[Outcome]) -> None:
    """Tell of pictures that somebody should look at, by the names of their files."""
    for flag in DOUBTFUL:
        names = [outcome.source for outcome in kept if flag in outcome.flags]
        if names:
            shown = ", ".join(names[:_NAMES_SHOWN])
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            _LOGGER.warning("%d images flagged %s (%s): %s%s", len(names), flag, FLAGS[flag], shown, more)


def _judge(root: Path, table: Path, kept: Sequence[Outcome], refused: Sequence[Outcome], limit: float) -> None:
    """Tell what was refused; fail when it is too much."""
    kinds = Counter(outcome.kind for outcome in refused)
    told = "; ".join(f"{count} {kind} ({REFUSALS[kind]})" for kind, count in kinds.most_common(3))
    if not kept:
        raise DataError(f"data.root = {root}: none of {len(refused)} files gives an image: {told}. See {table}")
    counted = sum(count for kind, count in kinds.items() if kind not in JUNK)
    share = counted / (len(kept) + counted)
    if share > limit:
        raise DataError(
            f"{counted} of {len(kept) + counted} files were refused, {share:.1%}, above "
            f"extract.max_rejected_fraction = {limit:g}: {told}. "
            f"Each is named in {table}: mend or remove them, or raise the limit"
        )
    if refused:
        _LOGGER.info("%d of %d files refused: %s. See %s", len(refused), len(kept) + len(refused), told, table)
    burned_in = sum("burned_in_annotation" in outcome.flags for outcome in kept)
    if burned_in:
        _LOGGER.warning(
            "%d images say that text is burned into their pixels: look at them before you share any", burned_in
        )
