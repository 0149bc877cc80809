"""pneumoseg: pneumothorax segmentation on chest radiographs, from DICOM to an honest test Dice.

``pneumoseg.load("data/bundle").read("radiograph.dcm")`` is the whole of it for a person with a trained model.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Reader", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Give ``load`` and ``Reader``, which import torch only when they are asked for (PEP 562)."""
    if name in ("load", "Reader"):
        from pneumoseg.use import reader

        return getattr(reader, name)
    raise AttributeError(f"module 'pneumoseg' has no attribute {name!r}")
