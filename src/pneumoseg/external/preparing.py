"""Stages external_extract and more_extract: a set as images, masks and tables, and what of it is in data.root too."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pandas as pd

from pneumoseg.config.data import DataParams, MoreParams
from pneumoseg.config.extract import ExtractParams
from pneumoseg.config.masks import MasksParams
from pneumoseg.external.sites import named
from pneumoseg.extract.extraction import extract
from pneumoseg.masks.mask_files import STATUS, write_masks
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, read_table, write_table
from pneumoseg.split.patients import find_patients
from pneumoseg.split.similarity import SIMILAR, find_similar

logger = logging.getLogger(__name__)


def extract_site(
    site: Layout,
    data: DataParams,
    extract_params: ExtractParams,
    masks_params: MasksParams,
    workers: int | None,
    more: Sequence[str] = (),
) -> None:
    """Do for a set what extract and masks do for data.root; then compare its radiographs with those of data.root.

    Every annotated image becomes a test image (``site.folds``). A set of which nothing is said is only predicted.

    Args:
        site: where to write; images and metadata of ``site.main`` are read.
        data: the set of evaluate.external.
        extract_params: section extract.
        masks_params: section masks.
        workers: processes and threads; None one a core. No output depends on it.
        more: names of data.more, whose radiographs are compared too.

    Raises:
        DataError: as in extract and write_masks, or no image of the set is annotated.
    """
    with named(site.name), _nothing_of_a_failure(site):
        extract(site, data, extract_params, workers)
        write_masks(site, data, masks_params, workers)
        folds = _all_test(site, data)
        write_table(site.folds, folds, FOLDS)
        others = (site.main, *map(site.more, more))
        similar = [_similar(site, list(folds["image_id"]), other, workers) for other in others]
        _write_similar(site, "evaluate.external", pd.concat(similar, ignore_index=True))


def extract_more(
    part: Layout, data: MoreParams, extract_params: ExtractParams, masks_params: MasksParams, workers: int | None
) -> None:
    """Do the same for a set that is trained on beside data.root; who may not is told by the stage split.

    Args:
        part: where to write; images and metadata of ``part.main`` are read.
        data: the set of data.more.
        extract_params: section extract.
        masks_params: section masks.
        workers: processes and threads; None one a core. No output depends on it.

    Raises:
        DataError: as in extract and write_masks.
    """
    with named(part.name, "data.more"), _nothing_of_a_failure(part):
        extract(part, data, extract_params, workers)
        write_masks(part, data, masks_params, workers)
        ids = list(read_table(part.metadata, METADATA)["image_id"])
        _write_similar(part, "data.more", _similar(part, ids, part.main, workers))


def _similar(part: Layout, image_ids: list[str], other: Layout, workers: int | None) -> pd.DataFrame:
    """The table SIMILAR of a set against the main one or one of data.more, whose images are called <set>/<image id>."""
    others = list(read_table(other.metadata, METADATA)["image_id"])
    found = find_similar(part.images, image_ids, other.images, others, workers)
    return found if other.site is None else found.assign(other_image_id=f"{other.site}/" + found["other_image_id"])


def _write_similar(part: Layout, section: str, similar: pd.DataFrame) -> None:
    write_table(part.similar, similar, SIMILAR)
    if len(similar):
        logger.warning("%s.%s: %d of its radiographs are among those that are trained on or tested, see %s", section,
                       part.name, similar["image_id"].nunique(), part.similar)  # fmt: skip


@contextmanager
def _nothing_of_a_failure(part: Layout) -> Iterator[None]:
    """Leave nothing of a set that fails where DVC or git would see it; the tables that say why move to ``part.failed``.

    What lies in data/more is an input of training: a leftover there would train anew after the set was given up.
    """
    shutil.rmtree(part.failed, ignore_errors=True)
    try:
        yield
    except BaseException as error:
        for path in (part.extract_counts, part.masks_counts):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not there, or with figures of an earlier run
            part.metrics.rmdir()
        part.failed.mkdir(parents=True)
        for table in part.data.glob("*.csv"):
            shutil.move(table, part.failed)
        shutil.rmtree(part.data, ignore_errors=True)
        if isinstance(error, DataError):
            raise DataError(str(error).replace(str(part.data), str(part.failed))) from error
        raise


def _all_test(site: Layout, data: DataParams) -> pd.DataFrame:
    """The table FOLDS of the set's annotated images."""
    annotations = read_table(site.annotations, ANNOTATIONS)
    annotated = annotations.loc[annotations["annotated"] == 1, "image_id"]
    if annotated.empty and not read_json(site.masks_counts)["table"]["rows"]:
        logger.warning("external set %s: no image has a label, so they are only predicted", site.name)
    elif annotated.empty:
        rejected = int((annotations[STATUS] == "rejected").sum())
        raise DataError(
            f"none of its {len(annotations)} images is annotated ({rejected} have a row in {data.annotations} that "
            f"cannot be used, see {site.rejected_annotations}; {site.annotations} says why of each), so nothing can be "
            "measured on it; mend the table, or take the set out of evaluate.external"
        )
    patients = annotated.map(find_patients(read_table(site.metadata, METADATA), None).of_image)
    return pd.DataFrame({"image_id": annotated, "patient": patients, "fold": "test"})
