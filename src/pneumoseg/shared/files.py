"""Files written whole or not at all, and images read with errors that name them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared import png
from pneumoseg.shared.errors import DataError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place when the block ends well, else vanishes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp gives 0600, which a shared cache could not read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fresh_dir(path: Path) -> Path:
    """Empty ``path`` and make it anew: a stage rewrites its outputs completely, so that no stale file survives."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def say_empty(folder: Path) -> None:
    """Leave a word in a folder that has stayed empty: of an empty output DVC warns at every stage that follows."""
    if not any(folder.iterdir()):
        (folder / "README.md").write_text("Nothing here: no image of this data set has one.\n", "utf-8")


def _plain(value: Any) -> Any:
    """Turn numpy values into plain ones and what is not finite into None: JSON has no NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def write_json(path: Path, content: Any) -> None:
    """Write JSON with an indent of two; floats have six decimals, NaN and infinity become null."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: not there; run the stage that writes it (dvc repro)") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); delete it and run dvc repro") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        DataError: missing, unreadable or something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold named figures; delete it and run dvc repro")
    return content


def write_png(path: Path, image: NDArray[Any]) -> None:
    """Write a uint8 or uint16 array, (H, W) grey or (H, W, 3) RGB, as a PNG; never a half-written one."""
    try:
        content = png_bytes(image)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def png_bytes(image: NDArray[Any]) -> bytes:
    """The same as the content of a file.

    Raises:
        DataError: it is no such array.
    """
    if image.dtype not in (np.uint8, np.uint16) or not image.size or image.shape[2:] not in ((), (3,)):
        raise DataError(f"an image of shape {image.shape} and type {image.dtype} cannot be written as PNG")
    return png.encode(image)


def read_png(path: Path) -> NDArray[Any]:
    """Read a grey PNG as it is, uint8 or uint16, shape (H, W).

    Raises:
        DataError: the file is missing, damaged or has colours.
    """
    if not path.is_file():
        raise DataError(f"{path}: not there; run the stage that writes it (dvc repro)")
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2:
        raise DataError(f"{path}: not a readable grey PNG; delete it and run dvc repro")
    return image


def digest_bytes(*parts: bytes | memoryview) -> str:
    """The first 32 hexadecimal digits of SHA-256 over the parts, each preceded by its length."""
    return _digest(parts)


def digest_files(paths: Iterable[Path], root: Path) -> str:
    """One digest over names (relative to root) and contents of files, in the order of names; one file in memory."""
    named = sorted((path.relative_to(root).as_posix(), path) for path in paths)
    return _digest(part for name, path in named for part in (name.encode(), path.read_bytes()))


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:32]
