"""The whole stage on small folders: finding, identity, duplicates, limits, workers, interruption."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from pneumoseg.config.data import DataParams
from pneumoseg.extract import extraction
from pneumoseg.extract.extraction import extract
from pneumoseg.extract.one_file import extract_one
from pneumoseg.radiographs.rules import FLAGS, REFUSALS
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.files import read_json, read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import METADATA, REJECTED, read_table
from pneumoseg.sources.candidates import find_candidates, is_candidate
from tests.radiographs.dicom_files import dataset, extract_params, ramp, save, save_jpeg

pytestmark = pytest.mark.filterwarnings("ignore:.*value for VR")


def data(root):
    return DataParams(root=str(root), annotations="none.csv")


class Run:
    """An extraction into a folder, and what it left there."""

    def __init__(self, root, out, workers=0, **changes):
        self.out, self.layout = out, Layout(out)
        self.images, self.metadata, self.rejected = self.layout.images, self.layout.metadata, self.layout.rejected
        self.error = None
        try:
            extract(self.layout, data(root), extract_params(**changes), workers)
        except DataError as error:
            self.error = error

    @property
    def ids(self):
        return read_table(self.metadata, METADATA)["image_id"].tolist()

    @property
    def refused(self):
        table = read_table(self.rejected, REJECTED)
        return dict(zip(table["source"], table["reason"], strict=True))

    @property
    def counts(self):
        return read_json(self.layout.extract_counts)

    @property
    def files(self):
        return {path.relative_to(self.out): path.read_bytes() for path in self.out.rglob("*") if path.is_file()}


def folder(root, count=3, **attributes):
    for index in range(count):
        save(root / f"s{index}" / f"{index}.dcm", dataset(ramp(low=index), image_id=f"1.2.{index}", **attributes))
    return root


# Candidates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["a.dcm", "A.DCM", "IM0001", "1.2.840.113619.2.5", "CR.1.2.3", "._a.dcm", "._IM1", "DICOMDIR", ".dcm", "README"],
)
def test_candidates(name):
    assert is_candidate(name)


@pytest.mark.parametrize("name", ["a.dicom", "A.DIC", "b.ima", "._a.dicom"])
def test_candidates_by_rarer_suffixes(name):
    assert is_candidate(name)


@pytest.mark.parametrize(
    "name", ["a.csv", "a.txt", "a.json", "a.dcm.zip", ".DS_Store", ".gitignore", "._.DS_Store", "a.png"]
)
def test_no_candidates(name):
    assert not is_candidate(name)


def test_dicom_by_other_suffixes_is_found_and_the_rest_is_counted(tmp_path, caplog):
    root = tmp_path / "in"
    for index, name in enumerate(["a.dicom", "b/c.IMA", "d.dic", "plain", "e.dcm"]):
        save(root / name, dataset(ramp(low=index), image_id=f"1.2.{index}"), preamble=name != "d.dic")
    (root / "words.dic").write_text("a dictionary")
    for name in ("x.csv", "b/y.CSV", "notes.txt", "scan.doe-jane", ".hidden", "z.zip"):
        (root / name).write_text("no radiograph")
    caplog.set_level("INFO")
    run = Run(root, tmp_path / "out")
    assert run.error is None
    assert read_table(run.metadata, METADATA)["source"].tolist() == ["a.dicom", "b/c.IMA", "d.dic", "plain", "e.dcm"]
    expected = {"csv": 2, "dic": 1, "none": 1, "other": 1, "txt": 1, "zip": 1}
    assert run.counts["passed_over"] == expected
    (told,) = [record.getMessage() for record in caplog.records if "passed over" in record.getMessage()]
    assert told.startswith("7 other files below")
    assert "csv 2" in told
    assert "jane" not in told + run.layout.extract_counts.read_text()


def test_links_are_followed_and_loops_end(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    folder(elsewhere, 1)
    (root / "b").mkdir(parents=True)
    (root / "loop").symlink_to(root)
    (root / "b" / "again").symlink_to(elsewhere)
    (root / "c").symlink_to(elsewhere)
    (root / "file.dcm").symlink_to(elsewhere / "s0" / "0.dcm")
    (root / "broken.dcm").symlink_to(tmp_path / "nowhere")
    os.mkfifo(root / "pipe")
    found = [path.relative_to(root).as_posix() for path in find_candidates(root)]
    assert found == ["b/again/s0/0.dcm", "broken.dcm", "file.dcm"]


def test_no_candidate_says_where_it_looked(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match=r"data.root = .*none of its 1 files.*\*\.dcm"):
        find_candidates(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        find_candidates(tmp_path / "gone")


# Outputs ----------------------------------------------------------------------------------------------------------


def test_outputs(tmp_path):
    root = folder(tmp_path / "in")
    save_jpeg(root / "deep" / "er" / "x", ramp(), image_id="ID_9", SyntheticData="YES")
    (root / "notes.txt").write_text("no candidate")
    (root / "bad.dcm").write_bytes(b"hello")
    run = Run(root, tmp_path / "out")
    assert run.error is None
    assert run.ids == ["1.2.0", "1.2.1", "1.2.2", "ID_9"]
    table = read_table(run.metadata, METADATA)
    assert table["source"].tolist() == ["s0/0.dcm", "s1/1.dcm", "s2/2.dcm", "deep/er/x"]
    assert table.columns.tolist() == list(METADATA)
    assert table["phantom"].tolist() == [0, 0, 0, 1]
    assert run.refused == {"bad.dcm": "no DICOM file"}
    assert sorted(path.name for path in run.images.iterdir()) == ["1.2.0.png", "1.2.1.png", "1.2.2.png", "ID_9.png"]
    for index in range(3):
        assert np.array_equal(read_png(run.images / f"1.2.{index}.png"), ramp(low=index))
    counts = run.counts
    assert (counts["candidates"], counts["extracted"], counts["rejected"], counts["phantom_images"]) == (5, 4, 1, 1)
    assert list(counts["rejected_by_reason"]) == list(REFUSALS)
    assert list(counts["flags"]) == list(FLAGS)
    assert counts["rejected_by_reason"]["not_dicom"] == sum(counts["rejected_by_reason"].values()) == 1
    assert counts["transfer_syntax"] == {"Explicit VR Little Endian": 3, "JPEG Baseline (Process 1)": 1}
    assert counts["photometric"] == {"MONOCHROME2": 4}


def test_doubtful_pictures_are_counted_and_named(tmp_path, caplog):
    root = folder(tmp_path / "in", 2)
    save(root / "window.dcm", dataset(ramp(), image_id="1.3", WindowCenter=9000, WindowWidth=10))
    save(root / "one.dcm", dataset(ramp(low=7, high=7), image_id="1.4"))
    run = Run(root, tmp_path / "out")
    assert {flag: count for flag, count in run.counts["flags"].items() if count} == {"blotted_out": 1, "uniform": 1}
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.rsplit(": ", 1)[1] for line in told] == ["window.dcm", "one.dcm"]


def dies_on_one(job, item):
    if item.file.name == "crash.dcm":
        os._exit(3)
    return extract_one(job, item)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_codec_that_crashes_ends_no_stage(tmp_path, monkeypatch, workers):
    root = folder(tmp_path / "in", 2)
    save(root / "crash.dcm", dataset(ramp(), image_id="1.9"))
    monkeypatch.setattr(extraction, "extract_one", dies_on_one)
    run = Run(root, tmp_path / "out", workers=workers)
    assert run.ids == ["1.2.0", "1.2.1"]
    assert run.counts["rejected_by_reason"]["decoder_crash"] == 1


def test_outputs_are_rewritten_completely(tmp_path):
    root = folder(tmp_path / "in")
    first = Run(root, tmp_path / "out").files
    (tmp_path / "out/data/images" / "stale.png").write_bytes(b"old")
    assert Run(root, tmp_path / "out").files == first


def test_sixteen_bit_and_small_pngs(tmp_path):
    run = Run(folder(tmp_path / "in", 1), tmp_path / "out", bit_depth=16, size_px=32)
    image = read_png(run.images / "1.2.0.png")
    assert (image.dtype, image.shape) == (np.uint16, (24, 32))


def test_the_same_for_any_number_of_workers_and_order(tmp_path):
    root = folder(tmp_path / "in", 20)
    save(root / "again", dataset(ramp(low=3), image_id="1.2.3"))
    save(root / "other", dataset(ramp(low=9, high=200), image_id="1.2.4"))
    (root / "bad").write_bytes(b"\0" * 500)
    runs = [Run(root, tmp_path / f"out{workers}", workers=workers).files for workers in (0, 2)]
    assert runs[0] == runs[1]
    # Images; two tables, the counts, and a word on why there are no lung masks.
    assert len(runs[0]) == 19 + 4


# Identity ---------------------------------------------------------------------------------------------------------

PLANTED = {
    "PatientName": "PLANTED^NAME",
    "PatientBirthDate": "19610423",
    "PatientAddress": "12 Planted Road",
    "OtherPatientNames": "PLANTED^OTHER",
    "InstitutionName": "Planted Hospital",
    "InstitutionAddress": "Planted City",
    "ReferringPhysicianName": "PLANTED^DOCTOR",
    "OperatorsName": "PLANTED^OPERATOR",
    "StudyDate": "19991231",
    "StudyTime": "235959",
    "AcquisitionDate": "19991230",
    "StudyDescription": "planted study text",
    "SeriesDescription": "planted series text",
    "ImageComments": "planted comment",
    "AccessionNumber": "PLANTEDACC",
    "StudyID": "PLANTEDSTUDY",
    "StationName": "PLANTEDSTATION",
    "DeviceSerialNumber": "PLANTEDSERIAL",
    "StudyInstanceUID": "1.2.777777.1",
    "SeriesInstanceUID": "1.2.777777.2",
    "PatientID": "PLANTEDID",
    "ViewPosition": "PLANTED^VIEW",
    "PatientSex": "PLANTED^SEX",
    "PatientAge": "PLANTED AGE",
}


def test_nothing_about_identity_leaves(tmp_path):
    root = tmp_path / "in"
    for name, extra in {
        "good": {},
        "ct": {"Modality": "PLANTED^MOD"},
        "part": {"BodyPartExamined": "PLANTED^PART"},
        "cut": {"Rows": 99},
        "id": {"SOPInstanceUID": "PLANTED^UID"},
        "photo": {"PhotometricInterpretation": "PLANTED^PI"},
    }.items():
        made = dataset(ramp(), image_id=f"1.2.{name}", **{**PLANTED, **extra})
        block = made.private_block(0x0011, "PLANTED CREATOR", create=True)
        block.add_new(1, "LO", "planted private text")
        made.add_new(0x60004000, "LT", "planted overlay comment")
        save(root / name, made)
    run = Run(root, tmp_path / "out", max_rejected_fraction=1.0)
    assert run.ids == ["1.2.good"]
    assert len(run.refused) == 5
    planted = [*PLANTED.values(), "planted", "777777"]
    for path, content in run.files.items():
        for value in planted:
            assert value.lower().encode() not in content.lower(), (path, value)
    assert read_table(run.metadata, METADATA)["patient_id"].str.fullmatch("[0-9a-f]{16}").all()


def test_a_png_has_no_chunk_but_the_pixels(tmp_path):
    run = Run(folder(tmp_path / "in", 1), tmp_path / "out")
    content = (run.images / "1.2.0.png").read_bytes()
    chunks, position = [], 8
    while position < len(content):
        chunks.append(content[position + 4 : position + 8])
        position += 12 + int.from_bytes(content[position : position + 4], "big")
    assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}


def test_a_hostile_id_writes_nothing_outside(tmp_path):
    root = folder(tmp_path / "in", 1)
    for index, hostile in enumerate(["../../x", "/root/x", "..", ".x", "a/b", "x" * 65, "a\\..\\b"]):
        save(root / f"h{index}", dataset(ramp(), image_id=hostile))
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    run = Run(root, tmp_path / "out", max_rejected_fraction=1.0)
    assert run.counts["rejected_by_reason"]["image_id"] == 7
    assert [path.name for path in run.images.rglob("*")] == ["1.2.0.png"]
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(run.out)} == before
    assert set(read_table(run.rejected, REJECTED)["image_id"]) == {""}


def test_strange_file_names(tmp_path):
    root = folder(tmp_path / "in", 1)
    name = os.fsdecode(b'a\n"b",\xff.dcm')
    (root / name).write_bytes(b"no dicom")
    run = Run(root, tmp_path / "out")
    assert list(run.refused) == ['a\\n"b",\\udcff.dcm']


def test_patient_ids_follow_the_key(tmp_path, monkeypatch):
    root = folder(tmp_path / "in", 2)
    public = Run(root, tmp_path / "a")
    monkeypatch.setenv("PNEUMOSEG_HASH_KEY", "a secret")
    own = Run(root, tmp_path / "b")
    ids = [read_table(run.metadata, METADATA)["patient_id"].unique().tolist() for run in (public, own)]
    assert len(ids[0]) == len(ids[1]) == 1
    assert ids[0] != ids[1]
    assert (public.counts["patient_hash_key"], own.counts["patient_hash_key"]) == ("public", "own")
    assert b"a secret" not in b"".join(own.files.values())
    monkeypatch.setenv("PNEUMOSEG_HASH_KEY", "")
    with pytest.raises(ParameterError, match="PNEUMOSEG_HASH_KEY"):
        Run(root, tmp_path / "c")


# Refusals ---------------------------------------------------------------------------------------------------------


def test_duplicates_and_conflicts(tmp_path):
    root = folder(tmp_path / "in", 2)
    save(root / "z" / "copy.dcm", dataset(ramp(low=0), image_id="1.2.0", PatientAge="099Y"))
    save(root / "other.dcm", dataset(ramp(high=100), image_id="1.2.1"))
    save(root / "cut.dcm", dataset(ramp(), image_id="1.2.0", Rows=99))  # refused before: no rival
    save(root / "case1.dcm", dataset(ramp(), image_id="ID_a"))
    save(root / "case2.dcm", dataset(ramp(), image_id="ID_A"))
    run = Run(root, tmp_path / "out", max_rejected_fraction=1.0)
    assert run.ids == ["1.2.0"]
    assert read_table(run.metadata, METADATA)["source"].tolist() == ["s0/0.dcm"]
    assert [path.name for path in run.images.iterdir()] == ["1.2.0.png"]
    assert run.refused["z/copy.dcm"] == "duplicate of s0/0.dcm: same id, same pixels"
    assert run.refused["other.dcm"].startswith("same id as s1/1.dcm, other pixels")
    assert run.refused["s1/1.dcm"].startswith("same id as other.dcm")
    assert {"case1.dcm", "case2.dcm", "cut.dcm"} < set(run.refused)
    assert run.counts["rejected_by_reason"]["duplicate"] == 1
    assert run.counts["rejected_by_reason"]["conflict"] == 4


def test_too_many_refusals_fail_after_everything_is_written(tmp_path):
    root = folder(tmp_path / "in", 2)
    save(root / "ct.dcm", dataset(ramp(), Modality="CT"))
    (root / "bad.dcm").write_bytes(b"x")
    (root / "worse.dcm").write_bytes(b"x")
    run = Run(root, tmp_path / "out", max_rejected_fraction=0.5)
    assert "3 of 5 files were refused, 60.0%, above extract.max_rejected_fraction = 0.5: 2 not_dicom" in str(run.error)
    assert "1 modality" in str(run.error)
    assert len(run.refused) == 3
    assert run.counts["rejected"] == 3
    assert len(run.ids) == 2
    assert Run(root, tmp_path / "out", max_rejected_fraction=0.6).error is None


def test_junk_of_archives_is_listed_but_does_not_fail_the_stage(tmp_path):
    root = folder(tmp_path / "in", 2)
    for index in range(5):
        (root / "__MACOSX").mkdir(exist_ok=True)
        (root / "__MACOSX" / f"._{index}.dcm").write_bytes(b"Mac OS X")
    (root / "DICOMDIR").write_bytes(b"index")
    (root / ".DS_Store").write_bytes(b"x")
    run = Run(root, tmp_path / "out", max_rejected_fraction=0.0)
    assert run.error is None
    assert len(run.refused) == 6
    assert run.counts["rejected_by_reason"]["resource_fork"] == 5
    assert run.counts["rejected_by_reason"]["dicomdir"] == 1
    assert run.counts["candidates"] == 8


def test_nothing_usable_fails_whatever_the_limit(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b"x")
    run = Run(tmp_path / "in", tmp_path / "out", max_rejected_fraction=1.0)
    assert "none of 1 files gives an image" in str(run.error)
    assert len(run.refused) == 1
    assert run.ids == []


def test_a_missing_folder_leaves_earlier_outputs_alone(tmp_path):
    root = folder(tmp_path / "in")
    before = Run(root, tmp_path / "out").files
    run = Run(tmp_path / "gone", tmp_path / "out")
    assert "no such folder" in str(run.error)
    assert run.files == before


@pytest.mark.real
def test_the_real_sample(real, tmp_path):
    run = Run(real / "siim-sample", tmp_path / "out", workers=2)
    assert (run.counts["extracted"], run.counts["rejected"]) == (35, 0)
    assert run.counts["flags"]["patient_id_missing"] == 12
    assert sum(run.counts["flags"].values()) == 12
    assert sum(image_id.startswith("ID_") for image_id in run.ids) == 12
    table = read_table(run.metadata, METADATA)
    assert set(table["sex"]) == {"M", "F"}
    assert set(table["view_position"]) == {"PA", "AP"}
    assert table["age_years"].between(1, 100).all()
    assert table["pixel_spacing_row_mm"].between(0.138, 0.195).all()
    assert (table["patient_id"] == "").sum() == 12
    for image_id, digest in zip(table["image_id"], table["pixels_sha256"], strict=True):
        image = read_png(run.images / f"{image_id}.png")
        parts = [f"uint8 {image.shape[0]} {image.shape[1]}".encode(), image.tobytes()]
        expected = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()[:32]
        assert digest == expected


# Workers ----------------------------------------------------------------------------------------------------------


# A shell that starts a test run in the background has it ignore SIGINT, and all it starts in turn: what looked like a
# dropped Ctrl-C. So the script says itself whether it is in the foreground.
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, getattr(signal, sys.argv[3]))
from pathlib import Path
from types import SimpleNamespace
from tests.radiographs.dicom_files import extract_params
from pneumoseg import stage
from pneumoseg.config.data import DataParams
from pneumoseg.extract.extraction import extract
from pneumoseg.shared.layout import Layout

def work(params):
    data = DataParams(root=sys.argv[1], annotations="none.csv")
    extract(Layout(Path(sys.argv[2])), data, extract_params(), 2)

if __name__ == "__main__":
    stage.load_params = lambda: None
    sys.exit(stage.run_stage(work))
"""
MANY = 120


def start_extraction(tmp_path, root, handler="default_int_handler"):
    """A long extraction in a process group of its own, under way when this returns."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    repository = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, str(script), str(root), str(tmp_path / "out"), handler],
        env={**os.environ, "PYTHONPATH": f"{repository / 'src'}{os.pathsep}{repository}"},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while (
        not any((tmp_path / "out").glob("data/images/[!.]*.png"))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    assert process.poll() is None, process.stderr.read()
    return process


def group_is_empty(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Files of 1,000 x 1,000 pixels of noise: a second or more of work."""
    root = tmp_path_factory.mktemp("many")
    made = dataset(np.random.default_rng(0).integers(0, 255, (1000, 1000), dtype=np.uint8))
    for index in range(MANY):
        made.SOPInstanceUID = f"1.2.{index}"
        save(root / f"{index}.dcm", made)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interruption_leaves_no_half_png_and_no_process(tmp_path, many, how):
    process = start_extraction(tmp_path, many)
    if how == signal.SIGINT:  # Ctrl-C reaches the whole group, once
        os.killpg(process.pid, how)
    else:
        process.kill()
    begun = time.monotonic()
    _, told = process.communicate(timeout=30)
    while not group_is_empty(process.pid) and time.monotonic() < begun + 10:
        time.sleep(0.05)
    assert group_is_empty(process.pid)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert not (tmp_path / "out/data/metadata.csv").exists()
    finished = [path for path in (tmp_path / "out/data/images").iterdir() if not path.name.startswith(".writing-")]
    assert 0 < len(finished) < MANY
    for path in finished:
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (1000, 1000)
    if how == signal.SIGINT:
        assert not list((tmp_path / "out/data/images").glob(".writing-*"))
        assert b"Traceback" not in told
        assert told.endswith(b"interrupted\n")


@pytest.mark.slow
def test_an_extraction_in_a_shells_background_goes_on(tmp_path, many):
    """By the convention of shells: it was started with SIGINT ignored, so that Ctrl-C ends the foreground only."""
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(many.iterdir())[:32]:
        (few / path.name).symlink_to(path)
    process = start_extraction(tmp_path, few, "SIG_IGN")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(read_table(tmp_path / "out/data/metadata.csv", METADATA)) == 32


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_gives_the_same(tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    root = folder(tmp_path / "in", 20)
    save(root / "again", dataset(ramp(low=3), image_id="1.2.3"))
    (root / "bad").write_bytes(b"\0" * 500)
    here = Run(root, tmp_path / "here").files
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = Run(root, tmp_path / "there", scheduler=cluster.scheduler_address).files
    assert there == here


def test_a_scheduler_without_dask_deletes_nothing(tmp_path, monkeypatch):
    root = folder(tmp_path / "in", 1)
    before = Run(root, tmp_path / "out").files
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ParameterError, match=r"extract.scheduler = tcp://127.0.0.1:9 needs Dask"):
        Run(root, tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    assert {path.name for path in (tmp_path / "out/data/images").iterdir()} == {"1.2.0.png"}
    assert Run(root, tmp_path / "out").files == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    monkeypatch.setattr("pneumoseg.shared.parallel._CONNECT_SECONDS", 1)
    with pytest.raises(ParameterError, match="no Dask scheduler answers"):
        Run(folder(tmp_path / "in", 1), tmp_path / "out", scheduler="tcp://127.0.0.1:9")


# Parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"window": "lung"}, "'dicom', 'percentile' or 'full'"),
        ({"window_percentiles": (99.5, 0.5)}, "give the lower percentile first"),
        ({"bit_depth": 12}, "8 or 16"),
        ({"size_px": 8}, "greater than or equal to 32"),
        ({"modalities": ()}, "at least 1"),
        ({"modalities": ("cr",)}, "pattern"),
        ({"max_rejected_fraction": 1.5}, "less than or equal to 1"),
        ({"scheduler": "localhost"}, "pattern"),
        ({"max_pixels": 0}, "greater than or equal to 1"),
        ({"nope": 1}, "not permitted"),
    ],
)
def test_impossible_parameters_are_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        extract_params(**changes)


@pytest.mark.parametrize("root", [".", "data", "./data/", "data/images", "data/masks/x", "metrics"])
def test_the_pipelines_own_folders_are_no_input(root):
    with pytest.raises(ValidationError, match="holds results of the pipeline"):
        DataParams(root=root, annotations="a.csv")
    assert DataParams(root="data/phantom", annotations="a.csv").root == "data/phantom"
