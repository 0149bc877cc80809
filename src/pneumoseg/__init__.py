"""pneumoseg: pneumothorax segmentation on chest radiographs, from DICOM to an honest test Dice.

``pneumoseg.load("data/bundle").read("radiograph.dcm")`` is the whole of it for a person with a trained model.
"""

import os
from typing import Any

# Threads of OpenMP spin while they wait for each other: beside another process on the same cores that is most of the
# time (measured: 5 to 10 times slower, and nothing gained alone). Read when torch is loaded, so set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["Reader", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Give ``load`` and ``Reader``, which import torch only when they are asked for (PEP 562)."""
    if name in ("load", "Reader"):
        from pneumoseg.use import reader

        return getattr(reader, name)
    raise AttributeError(f"module 'pneumoseg' has no attribute {name!r}")
