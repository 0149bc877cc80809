"""DICOM files made by hand for the tests of the room radiographs; written with pydicom, Pillow and GDCM only."""

import io
import os
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

from pneumoseg.config.extract import ExtractParams

PARAMS: dict[str, Any] = {
    "window": "dicom",
    "window_percentiles": (0.5, 99.5),
    "bit_depth": 8,
    "size_px": None,
    "modalities": ("CR", "DX"),
    "body_parts": ("CHEST", "THORAX"),
    "max_pixels": 4_000_000,
    "max_age_years": 120,
    "max_rejected_fraction": 0.5,
    "scheduler": None,
}


def extract_params(**changes: Any) -> ExtractParams:
    return ExtractParams(**{**PARAMS, **changes})


def ramp(rows: int = 48, columns: int = 64, low: int = 0, high: int = 255, dtype: type = np.uint8) -> NDArray[Any]:
    """A slope from low to high, different in every direction."""
    y, x = np.mgrid[:rows, :columns]
    return (low + (high - low) * (2 * y + x) / (2 * rows + columns - 3)).round().astype(dtype)


def dataset(pixels: NDArray[Any], image_id: str = "1.2.3", bits: int | None = None, **attributes: Any) -> Dataset:
    """A chest CR in the native encoding; attributes of value None are taken away."""
    made = Dataset()
    made.SOPClassUID = uid.ComputedRadiographyImageStorage
    made.SOPInstanceUID = image_id
    made.Modality = "CR"
    made.BodyPartExamined = "CHEST"
    made.PatientID = "P1"
    made.PixelSpacing = [0.168, 0.17]
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated = 8 * pixels.itemsize
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    made["PixelData"].VR = "OW"
    for name, value in attributes.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


def save(
    path: Path,
    made: Dataset,
    syntax: str = uid.ExplicitVRLittleEndian,
    preamble: bool = True,
    stated: bool = True,
) -> Path:
    """Write a data set; without ``stated`` the file has no group 0002 at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    implicit, little = syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
    if not stated:
        made.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
        return path
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.UID(syntax)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    if preamble:
        made.preamble = b"\0" * 128
    made.save_as(path, enforce_file_format=preamble)
    return path


def save_big_endian(path: Path, pixels: NDArray[Any], **attributes: Any) -> Path:
    made = dataset(pixels, **attributes)
    made.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    return save(path, made, uid.ExplicitVRBigEndian)


def save_jpeg(
    path: Path, pixels: NDArray[Any], quality: int = 90, frame: bytes | None = None, **attributes: Any
) -> bytes:
    """JPEG Baseline by Pillow, as SIIM has it; returns the bare frame."""
    if frame is None:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        frame = buffer.getvalue()
    made = dataset(pixels, **attributes)
    made.PixelData = encapsulate([frame])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    save(path, made, uid.JPEGBaseline8Bit)
    return frame


def save_compressed(path: Path, made: Dataset, syntax: str) -> Path:
    """Any syntax that GDCM can write, by its own name for it (JPEG2000Lossless, RLELossless, …)."""
    save(path, made)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change(), syntax
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    return path


def gdcm_pixels(path: Path) -> NDArray[Any]:
    """Stored values as GDCM's own reader sees them: independent of pydicom."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    image = reader.GetImage()
    scalar = {gdcm.PixelFormat.UINT8: np.uint8, gdcm.PixelFormat.UINT16: np.uint16, gdcm.PixelFormat.INT16: np.int16}
    dtype = scalar.get(image.GetPixelFormat().GetScalarType(), np.uint16)
    values = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), dtype)
    return values.reshape(image.GetDimension(1), image.GetDimension(0))


def square(number: int) -> int:
    """Work for a pool: dies on a negative number, as a decoder does that crashes."""
    if number < 0:
        os._exit(3)
    return number * number


def lost(number: int) -> int:
    return -1
