"""What a data set must say so that every later stage can use it: its images, and what is known of them.

A source is registered in a module of ``sources.formats`` under that module's name, which data.format holds:
``SOURCES.register("siim", Siim())``. It reads tables and folders; pixels are read by the kind of file, never by source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pneumoseg.config.data import DataParams
from pneumoseg.config.masks import MasksParams
from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import SOURCES
from pneumoseg.sources.truth import Size, Truths


@dataclass(frozen=True)
class Item:
    """One image of a source.

    Attributes:
        file: a DICOM, PNG or JPEG file; or its content, where it lies in an archive (a sequence of items may make each
            as it is asked for).
        known: what the source knows; a PNG or JPEG needs at least its image_id.
        name: of the file in tables, for content; of a path: relative to data.root.
    """

    file: Path | bytes
    known: Known = NOTHING
    name: str = ""


@dataclass(frozen=True)
class DataSet:
    """Where a data set lies, and how it is to be understood.

    Attributes:
        root: data.root; absolute, because the workers of a cluster have folders of their own.
        annotations: data.annotations, a table or a folder of tables; layouts whose tables lie beside the images take
            data.root itself.
        params: section data, or a set of evaluate.external.
    """

    root: Path
    annotations: Path
    params: DataParams

    @classmethod
    def of(cls, layout: Layout, params: DataParams) -> DataSet:
        """With paths below the folder of params.yaml, unless they are absolute."""
        return cls((layout.root / params.root).absolute(), (layout.root / params.annotations).absolute(), params)


class Source(Protocol):
    """A published layout of images and annotations."""

    def images(self, data: DataSet) -> Sequence[Item]:
        """Every file that may be a radiograph, always in the same order; a file that is none is refused later.

        Raises:
            DataError: there is none; the message names data.root.
        """
        ...

    def truth(self, data: DataSet, sizes: Mapping[str, Size], params: MasksParams) -> Truths:
        """What is known of the images.

        Args:
            data: the same as for ``images``.
            sizes: of each image that was extracted; a mask must fit into it.
            params: section masks.

        Raises:
            DataError: the annotations cannot be read; a row that cannot be used is no error but rejected.
        """
        ...


def source_of(data: DataParams) -> Source:
    """The source that reads section data, or a set of evaluate.external."""
    source: Source = SOURCES[data.format]
    return source
