"""Lung masks beside a data set: folders in several forms, tables of CheXmask, and what is told of those of no use."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from pneumoseg.config.phantom import PhantomParams
from pneumoseg.phantom import generate
from pneumoseg.phantom.writer import plan_cohort, render_phantom
from pneumoseg.rule.crop import box_of
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.sources.lung_masks import lung_masks
from pneumoseg.sources.truth import Size

SIZE = Size(8, 10)
HEAD = "image_id,Dice RCA (Mean),Landmarks,Left Lung,Right Lung,Heart,Height,Width\n"


def part(left: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[2:6, left:right] = 255
    return mask


def read(path: Path, *names: str) -> dict[str, tuple[np.ndarray | None, str]]:
    return {one.image_id: (one.mask, one.reason) for one in lung_masks(path, dict.fromkeys(names, SIZE))}


def test_one_file_or_two_an_image(tmp_path: Path) -> None:
    both = part(1, 4) | part(6, 9)
    write_png(tmp_path / "a.png", both)
    write_png(tmp_path / "b_mask.png", both // 255)  # of two values
    write_png(tmp_path / "leftMask/c.png", part(6, 9))  # as Montgomery has them
    write_png(tmp_path / "rightMask/c.png", part(1, 4))
    write_png(tmp_path / "d_left.png", part(6, 9))
    write_png(tmp_path / "d_right_lung.png", part(1, 4))
    write_png(tmp_path / "MCUCXR_0001_0.png", both)
    write_png(tmp_path / "stranger.png", both)
    found = read(tmp_path, "a", "b", "c", "d", "MCUCXR_0001_0", "without")
    assert found.keys() == {"a", "b", "c", "d", "MCUCXR_0001_0"}
    for mask, reason in found.values():
        assert np.array_equal(mask, both > 0), reason


def test_masks_of_another_size_or_side_are_told(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.full((4, 4), 255, np.uint8))
    write_png(tmp_path / "b_left.png", part(1, 4))
    write_png(tmp_path / "b_right.png", part(6, 9))
    write_png(tmp_path / "c.png", np.zeros(SIZE, np.uint8))
    (tmp_path / "d.png").write_bytes(b"no picture")
    found = read(tmp_path, "a", "b", "c", "d")
    assert all(mask is None for mask, _ in found.values())
    assert found["a"][1] == "a mask of 4 x 4 pixels for an image of 8 x 10"
    assert found["b"][1] == "the left lung lies left of the right one: mask or image is mirrored"
    assert found["c"][1] == "an empty mask"
    assert "neither PNG nor JPEG" in found["d"][1]


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_of_chexmask_counts_along_the_rows_from_one(packed: bool, tmp_path: Path) -> None:
    """Rows 2 to 5, columns 6 to 8 on a width of 10: starts 27, 37, 47, 57."""
    left, right = "27 3 37 3 47 3 57 3", "22 3 32 3 42 3 52 3"
    rows = [
        f'a.png,0.91,"[1, 2,\n3]",{left},{right},1 1,8,10',
        f"b,0.55,,{left},{right},,8,10",
        f"c,0.9,,{right},{left},,8,10",
        f"d,0.9,,{left},{right},,16,20",
        f"e,0.9,,{left} 79 9,{right},,8,10",
        f"f,0.9,,,{right},,8,10",
        f"stranger,0.9,,{left},{right},,8,10",
    ]
    path = tmp_path / ("lungs.csv.gz" if packed else "lungs.csv")
    content = (HEAD + "\n".join(rows) + "\n").encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read(path, *"abcdef")
    assert np.array_equal(found["a"][0], (part(1, 4) | part(6, 9)) > 0)
    reasons = {name: reason for name, (_, reason) in found.items()}
    assert reasons == {
        "a": "",
        "b": "Dice RCA (Mean) 0.55 is below 0.7",
        "c": "the left lung lies left of the right one: mask or image is mirrored",
        "d": "a mask of 16 x 20 pixels for an image of 8 x 10",
        "e": "a row that is no mask of CheXmask",
        "f": "an empty mask",
    }


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.lungs = .*: neither a folder of masks nor a table"):
        lung_masks(tmp_path / "nothing", {})
    (tmp_path / "a.csv").write_text("ImageId,EncodedPixels\n")
    with pytest.raises(DataError, match="lacks the column Left Lung"):
        list(lung_masks(tmp_path / "a.csv", {}))


@pytest.mark.slow
def test_phantoms_write_their_lungs_and_no_lesion_leaves_the_box(tmp_path: Path) -> None:
    """None lies outside of the box with the default margin; the files are those of a set without lungs."""
    assert (
        plan_cohort(PhantomParams())[0].uids[0] == "2.25.157482336137977620404026487689791740087"
    )  # of the default set, as it always was
    params = PhantomParams(
        images=24, unannotated_images=1, unlabelled_images=1, size_px=128, prevalence=0.5, lungs=True
    )
    plain = Layout(tmp_path / "plain")
    layout = Layout(tmp_path / "lungs")
    generate(layout, params, 0)
    generate(plain, params.model_copy(update={"lungs": False}), 0)
    names = {path.relative_to(plain.phantom) for path in plain.phantom.rglob("*") if path.is_file()}
    for name in names:
        assert (layout.phantom / name).read_bytes() == (plain.phantom / name).read_bytes()
    extra = {path.relative_to(layout.phantom) for path in layout.phantom.rglob("*") if path.is_file()} - names
    assert [path.name for path in extra] == ["lungs.csv"]
    phantoms = {phantom.metadata.uids[0]: phantom for phantom in (render_phantom(params, index) for index in range(26))}
    sizes = dict.fromkeys(phantoms, Size(128, 128))
    found = {one.image_id: one for one in lung_masks(layout.phantom / "lungs.csv", sizes)}
    assert found.keys() == phantoms.keys()
    for name, phantom in phantoms.items():
        assert np.array_equal(found[name].mask, np.any(list(phantom.lungs.values()), axis=0)), found[name].reason
        box = box_of(found[name].mask, 0.08, 0.2)
        assert not box.whole
        outside = phantom.mask.copy()
        outside[box.window(128, 128)] = False
        assert not outside.any()
