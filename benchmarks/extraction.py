"""Extraction against its floor: what one image costs beyond decoding and encoding, and what a second process brings."""

from __future__ import annotations

import io
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

from pneumoseg.config.data import DataParams
from pneumoseg.config.extract import ExtractParams
from pneumoseg.extract.extraction import extract
from pneumoseg.extract.one_file import Job, Outcome, extract_one
from pneumoseg.shared.files import png_bytes
from pneumoseg.shared.layout import Layout
from pneumoseg.sources.source import Item

SIZE_PX = 1024
# Level 1, run lengths, one filter: those of shared/png.py.
OPENCV_PNG = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
]
DIFFERENT = 12
ROUNDS = 5
FILES = 480
PARAMS = ExtractParams(
    window="dicom",
    window_percentiles=(0.5, 99.5),
    bit_depth=8,
    size_px=None,
    modalities=("CR",),
    body_parts=("CHEST",),
    max_pixels=40_000_000,
    max_age_years=120,
    max_rejected_fraction=0.0,
    scheduler=None,
)


def jpeg_frame(seed: int) -> bytes:
    """A JPEG Baseline frame as large as SIIM's (some 130 kB): smooth structures and fine grain."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(128, 60, (24, 24)), (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.normal(0, 12, (SIZE_PX, SIZE_PX)), (0, 0), 1.1)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(coarse + fine, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_dicom(path: Path, frame: bytes, image_id: str) -> None:
    """A SIIM-like DICOM file around a frame."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = uid.SecondaryCaptureImageStorage, image_id
    made.Modality, made.BodyPartExamined, made.ViewPosition = "CR", "CHEST", "PA"
    made.PatientID, made.PatientSex, made.PatientAge, made.PixelSpacing = "P1", "F", "064Y", [0.168, 0.168]
    made.Rows = made.Columns = SIZE_PX
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    made.PixelData = encapsulate([frame])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    made.save_as(path, enforce_file_format=True)


def floor(frame: bytes) -> None:
    """Decode and encode in memory by OpenCV, nothing else."""
    cv2.imencode(".png", cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_GRAYSCALE), OPENCV_PNG)


def own_floor(frame: bytes) -> None:
    """The same with the coder that extraction has."""
    png_bytes(cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_GRAYSCALE))


def cpu_milliseconds(work: Callable[..., object], *arguments: object) -> float:
    """Of this process, so that other programs on the machine do not count."""
    begun = time.process_time()
    work(*arguments)
    return 1000 * (time.process_time() - begun)


def one_image(root: Path, out: Path, frames: list[bytes]) -> tuple[float, ...]:
    """Milliseconds an image, both floors and ours, on one core: medians over images of the best of some rounds."""
    job = Job(root, out, out, PARAMS, b"key")  # no lungs in the sample
    best = []
    for index, frame in enumerate(frames):
        rounds = []
        for _ in range(ROUNDS):
            # As in the stage, whose folder is empty: a file that takes another's place makes ext4 write at once.
            (out / f"1.2.{index}.png").unlink(missing_ok=True)
            ours = cpu_milliseconds(done, job, root / f"{index}.dcm")
            rounds.append((cpu_milliseconds(floor, frame), cpu_milliseconds(own_floor, frame), ours))
        best.append([min(times) for times in zip(*rounds, strict=True)])
    return tuple(statistics.median(times) for times in zip(*best, strict=True))


def done(job: Job, path: Path) -> Outcome:
    """One file, from reading it to its PNG on disk."""
    outcome = extract_one(job, Item(path))
    if outcome.row is None:
        raise RuntimeError(outcome.reason)
    return outcome


def whole(root: Path, out: Path, workers: int) -> float:
    """Seconds for a whole run, the start of the processes included."""
    begun = time.perf_counter()
    extract(Layout(out), DataParams(root=str(root), annotations="none"), PARAMS, workers)
    return time.perf_counter() - begun


def peak_mib(root: Path, out: Path) -> float:
    """Peak memory of a run without worker processes, in a fresh interpreter, in MiB."""
    code = "import sys; from benchmarks.extraction import report_peak; report_peak(*sys.argv[1:])"
    child = subprocess.run(
        [sys.executable, "-c", code, str(root), str(out)], check=True, capture_output=True, text=True
    )
    return float(child.stdout)


def report_peak(root: str, out: str) -> None:
    """Run in the child of peak_mib."""
    whole(Path(root), Path(out), 0)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> str:
    """The table."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        few, many = base / "few", base / "many"
        few.mkdir()
        many.mkdir()
        frames = [jpeg_frame(seed) for seed in range(DIFFERENT)]
        for index in range(FILES):
            folders = (few, many) if index < FILES // 8 else (many,)
            for folder in folders:
                write_dicom(folder / f"{index}.dcm", frames[index % DIFFERENT], f"1.2.{index}")
        (base / "png").mkdir()
        bare, own, ours = one_image(many, base / "png", frames)
        seconds = {workers: whole(many, base / "out", workers) for workers in (1, 2)}
        memory = [peak_mib(folder, base / "out") for folder in (few, many)]
    return "\n".join(
        [
            f"Extraction, JPEG Baseline {SIZE_PX} x {SIZE_PX}, {sum(map(len, frames)) // DIFFERENT // 1000} kB a frame",
            f"  decode + encode alone (OpenCV, in memory)    {bare:8.1f} ms of CPU an image",
            f"  ours, file to PNG file and row               {ours:8.1f} ms of CPU an image",
            f"  ours against the floor                       {ours / bare:8.2f} x (goal 1.25 or less)",
            f"  decode + encode alone, PNG by our own coder  {own:8.1f} ms; ours {ours / own:.2f} x",
            *(
                f"  {FILES} files, {n} process{'es' * (n > 1):4}                     {FILES / seconds[n]:8.1f} images/s"
                for n in (1, 2)
            ),
            f"  two processes against one                    {seconds[1] / seconds[2]:8.2f} x (goal 1.8 or more)",
            f"  peak memory, {FILES // 8} files / {FILES} files              {memory[0]:8.0f} / {memory[1]:.0f} MiB",
        ]
    )


if __name__ == "__main__":
    print(main())
