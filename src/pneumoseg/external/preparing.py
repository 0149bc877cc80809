"""Stage external_extract: an external set as images, masks and tables, and what of it is in data.root too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pandas as pd

from pneumoseg.config.data import DataParams
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
    site: Layout, data: DataParams, extract_params: ExtractParams, masks_params: MasksParams, workers: int | None
) -> None:
    """Do for a set what extract and masks do for data.root; then compare its radiographs with those of data.root.

    Every annotated image becomes a test image (``site.folds``). A set of which nothing is said is only predicted.

    Args:
        site: where to write; images and metadata of ``site.main`` are read.
        data: the set of evaluate.external.
        extract_params: section extract.
        masks_params: section masks.
        workers: processes and threads; None one a core. No output depends on it.

    Raises:
        DataError: as in extract and write_masks, or no image of the set is annotated.
    """
    with named(site.name), _no_counts_of_a_failure(site):
        extract(site, data, extract_params, workers)
        write_masks(site, data, masks_params, workers)
        folds = _all_test(site, data)
    write_table(site.folds, folds, FOLDS)
    others = read_table(site.main.metadata, METADATA)["image_id"]
    similar = find_similar(site.images, list(folds["image_id"]), site.main.images, list(others), workers)
    write_table(site.similar, similar, SIMILAR)
    if len(similar):
        found = similar["image_id"].nunique()
        logger.warning("external set %s: data.root has %d of its radiographs, see %s", site.name, found, site.similar)


@contextmanager
def _no_counts_of_a_failure(site: Layout) -> Iterator[None]:
    """Leave nothing in metrics, which is git's, of a set that fails; the tables that say why it failed stay in data."""
    try:
        yield
    except BaseException:
        for path in (site.extract_counts, site.masks_counts):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not there, or with figures of an earlier run
            site.metrics.rmdir()
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
