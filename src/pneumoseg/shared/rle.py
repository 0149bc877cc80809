"""The run-length code of the SIIM-ACR tables: relative gaps, down the columns.

Pairs (offset, length). The first offset is the 0-based flat index of the first run, each later one counts background
pixels from the end of the run before. Pixels are counted down a column, then on to the next column, so a run may go on
over a column's end. ``-1`` stands for an empty mask. Two points differ from the competition's own helper
(mask_functions.py): a run that reaches the last pixel is kept when encoding, and a code that does not fit is refused.
It is neither the absolute, 1-based code of other competitions nor that of COCO.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared.errors import DataError

#: The code of an image without pneumothorax.
EMPTY = "-1"

_NUMBERS = re.compile(r"[0-9]+(?: [0-9]+)*")
# Runs of more digits than any pixel index has: sums of them could overflow int64.
_MOST_DIGITS = 12


class RleError(DataError):
    """A run-length code that cannot be a mask of the given size; the message says what is wrong with it."""


def _parse(code: str) -> NDArray[np.int64]:
    """Give the numbers of a code as (N, 2) int64: offset, length."""
    tokens = code.split()
    if not tokens:
        raise RleError(f"no run-length code; an image without pneumothorax has {EMPTY}")
    if not _NUMBERS.fullmatch(" ".join(tokens)):
        # The position, never the text itself: reasons are written to tables, and a shifted column may hold a name.
        place, token = next((i, token) for i, token in enumerate(tokens, 1) if not _NUMBERS.fullmatch(token))
        if _NUMBERS.fullmatch(token.removeprefix("-")):
            raise RleError(
                f"number {place} of {len(tokens)} in a run-length code is negative; {EMPTY} only stands alone"
            )
        raise RleError(f"item {place} of {len(tokens)} in a run-length code is not a whole number")
    if len(tokens) % 2:
        raise RleError(f"odd count of {len(tokens)} numbers in a run-length code; it is made of pairs offset, length")
    if max(map(len, tokens)) > _MOST_DIGITS:
        raise RleError(f"a number of {max(map(len, tokens))} digits in a run-length code lies past any image")
    return np.array(list(map(int, tokens)), np.int64).reshape(-1, 2)


def read_runs(code: str, pixels: int | None = None) -> NDArray[np.int64]:
    """Give the runs of a code as flat, column-major pixel ranges.

    Args:
        code: a run-length code; blanks around it do no harm.
        pixels: rows x columns of the image; None leaves the end unchecked.

    Returns:
        (N, 2) int64, ascending: first pixel of each run and the pixel after its last; N is 0 for ``-1``.

    Raises:
        RleError: no code, an odd count, a number that is not whole or is negative, a length of zero, or a run that goes
            past the image.
    """
    if code.strip() == EMPTY:
        return np.empty((0, 2), np.int64)
    pairs = _parse(code)
    if not pairs[:, 1].all():
        raise RleError(f"run {int(np.argmin(pairs[:, 1])) + 1} of {len(pairs)} in a run-length code has length 0")
    ends = np.cumsum(pairs.sum(axis=1))
    if pixels is not None and ends[-1] > pixels:
        raise RleError(f"run-length code ends after pixel {int(ends[-1])}, past the image of {pixels} pixels")
    return np.stack([ends - pairs[:, 1], ends], axis=1)


def merge_runs(runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unite runs, in any order and overlapping or not, as OR of their masks does.

    Args:
        runs: (N, 2) int64, pixel ranges as in read_runs.

    Returns:
        (M, 2) int64, M ≤ N: ascending ranges that neither overlap nor touch.
    """
    if not len(runs):
        return runs
    starts, ends = runs[np.argsort(runs[:, 0], kind="stable")].T
    reach = np.maximum.accumulate(ends)
    opens = np.concatenate([[True], starts[1:] > reach[:-1]])
    closes = np.concatenate([opens[1:], [True]])
    return np.stack([starts[opens], reach[closes]], axis=1)


def draw_runs(runs: NDArray[np.int64], rows: int, columns: int) -> NDArray[np.bool_]:
    """Give the mask, (H, W) bool, of pixel ranges as in read_runs; they must lie inside rows x columns."""
    lengths = runs[:, 1] - runs[:, 0]
    # The flat indices of all marked pixels: the cost goes with the area of the pneumothorax, not with the image's.
    before = np.cumsum(lengths) - lengths
    marked = np.arange(lengths.sum()) + np.repeat(runs[:, 0] - before, lengths)
    mask = np.zeros((rows, columns), np.bool_)
    mask[marked % rows, marked // rows] = True
    return mask


def decode(code: str, rows: int, columns: int) -> NDArray[np.bool_]:
    """Decode one run-length code.

    Args:
        code: a run-length code, or ``-1`` for the empty mask.
        rows: height of the image in pixels.
        columns: width of the image in pixels.

    Returns:
        (H, W) bool, True in the pneumothorax.

    Raises:
        RleError: as in read_runs.
    """
    return draw_runs(read_runs(code, rows * columns), rows, columns)


def runs_of(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> NDArray[np.int64]:
    """Give the runs of a mask, (N, 2) int64 as in read_runs; the inverse of draw_runs.

    Raises:
        RleError: the array has not two axes.
    """
    if mask.ndim != 2:
        raise RleError(f"a mask has the axes (H, W), this one has shape {mask.shape}")
    flat = np.zeros(mask.size + 2, np.int8)
    flat[1:-1] = (mask != 0).T.ravel()
    return np.flatnonzero(np.diff(flat)).astype(np.int64).reshape(-1, 2)


def encode(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> str:
    """Encode a mask, (H, W) bool or integers of which every nonzero one counts; ``-1`` where it is empty.

    Raises:
        RleError: the array has not two axes.
    """
    edges = runs_of(mask).ravel()
    if not edges.size:
        return EMPTY
    # Edges alternate start, end; their differences are gap, length, gap, length …
    return " ".join(map(str, np.diff(edges, prepend=0).tolist()))
