"""Images with a label and no mask: what they teach, and how many of a step they are."""

import copy
from pathlib import Path

import pandas as pd
import pytest
import torch

from pneumoseg.networks.building import build_network
from pneumoseg.networks.family import Truth
from pneumoseg.shared.errors import DataError, TrainingError
from pneumoseg.shared.files import fresh_dir, read_png, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.shared.tables import ANNOTATIONS, MANIFEST, read_table, write_table
from pneumoseg.train.arrays import build_arrays
from pneumoseg.train.fold_data import load_fold
from pneumoseg.train.sampling import epoch_samples, steps, with_label_only
from tests.train.disks import assert_same, load, make_params, train, write_disks
from tests.train.test_sampling import phase

pytestmark = pytest.mark.slow

HEAD = {"image_head": {"enabled": True}}


@pytest.fixture(scope="module")
def partly(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The disks, of which three positives and two negatives of the training pool have a label alone."""
    layout = write_disks(tmp_path_factory.mktemp("partly"))
    table = read_table(layout.annotations, ANNOTATIONS)
    unknown = ["image00", "image01", "image02", "image03", "image04"]
    write_table(
        layout.annotations, table.assign(mask_known=(~table["image_id"].isin(unknown)).astype(int)), ANNOTATIONS
    )
    for name in unknown:
        (layout.masks / f"{name}.png").unlink(missing_ok=True)
    return layout


def test_images_with_a_label_alone_change_no_gradient_of_the_mask():
    """Decoder and mask head learn as if they were not there, to the bit; the encoder learns from their labels."""
    params = make_params(model=HEAD)
    torch.manual_seed(0)
    model = build_network(params.model).eval()  # batch norms with fixed statistics, which couple no images
    pixels, masks = torch.rand(4, 3, 64, 64), (torch.rand(4, 1, 64, 64) > 0.7).float()
    known = torch.tensor([True, True, False, False])
    labels = torch.tensor([1.0, 1.0, 1.0, 0.0])
    objective = FAMILIES["unet"].objective(params.train.loss)

    def gradients(rows: slice) -> dict[str, torch.Tensor]:
        network = copy.deepcopy(model)
        # One image at a time through the network, so that the arithmetic of its convolutions is the same.
        outputs = [network(one[None]) for one in pixels[rows]]
        fields = [torch.cat([getattr(one, name) for one in outputs]) for name in ("mask", "image")]
        joined = type(outputs[0])(fields[0], (), fields[1])
        terms, _ = objective(lambda _: joined, pixels[rows], Truth(masks[rows], labels[rows], known[rows]))
        terms["loss"].backward()
        return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}

    alone, together = gradients(slice(0, 2)), gradients(slice(0, 4))
    of_mask = [name for name in alone if not name.startswith(("encoder.", "image_head."))]
    assert len(of_mask) > 10
    assert all(torch.equal(alone[name], together[name]) for name in of_mask)
    assert not all(torch.equal(alone[name], together[name]) for name in alone if name.startswith("encoder."))


def test_a_negative_label_without_a_mask_is_no_empty_mask(partly: Layout, tmp_path: Path):
    params = make_params(model=HEAD, label_only_share=0.5)
    data = load(partly, params)
    assert data.label_only == {"image00": True, "image01": False, "image02": True, "image03": False, "image04": True}
    summary = train(partly, tmp_path, params).summary
    assert (summary["n_mask_unknown"], summary["n_validation_mask_unknown"]) == (5, 0)
    assert build_arrays(data, 64, tmp_path / "arrays").mask("image00").max() == 0


def test_a_further_set_teaches_by_its_masks_or_by_its_labels(tmp_path: Path):
    """Images of data.more stand in the manifest as <set>/<id>, and in other folders: here with ids of the main set."""
    layout = write_disks(tmp_path)
    other = write_disks(tmp_path / "elsewhere")
    part = layout.more("b")
    part.data.mkdir(parents=True)
    for name in ("images", "masks", "annotations.csv"):
        (part.data / name).symlink_to(other.data / name)
    table = read_table(part.annotations, ANNOTATIONS)
    table["mask_known"] = (table["image_id"] != "image01").astype(int)
    write_table(part.annotations, table, ANNOTATIONS)
    manifest = read_table(layout.splits / "train_fold1.csv", MANIFEST)
    more = manifest.head(3).assign(image_id=["b/image00", "b/image01", "b/image03"])
    write_table(layout.splits / "train_fold1.csv", pd.concat([manifest, more]), MANIFEST)
    data = load(layout, make_params(model=HEAD))
    assert data.label_only == {"b/image01": False}
    write_png(other.images / "image00.png", 255 - read_png(layout.images / "image00.png"))
    arrays = build_arrays(load(layout, make_params(model=HEAD)), 96, tmp_path / "arrays")
    assert (arrays.image("b/image00") == 255 - arrays.image("image00")).all()
    assert (arrays.mask("b/image00") == arrays.mask("image00")).all()


def test_auto_chooses_by_ranking_where_no_positive_validation_image_has_a_mask(tmp_path: Path, caplog):
    layout = write_disks(tmp_path)
    table = read_table(layout.annotations, ANNOTATIONS)
    table["mask_known"] = 1 - table["pneumothorax"]
    write_table(layout.annotations, table, ANNOTATIONS)
    fresh_dir(layout.masks)
    trained = train(layout, tmp_path, make_params(model=HEAD, scheduler={"name": "plateau"}))
    assert trained.summary["selection_metric"] == "auc"
    assert "auc chooses the epoch, not auc_and_dice_pos" in caplog.text
    assert {"val_auc", "val_sensitivity"} <= trained.history[0].keys()
    assert not {"val_dice_all", "val_dice_pos", "val_iou", "val_all_empty"} & trained.history[0].keys()
    assert "val_all_empty" not in trained.summary


def test_a_share_of_every_batch_has_a_label_alone(partly: Layout, tmp_path: Path):
    params = make_params(model=HEAD, batch_size=4, label_only_share=0.25).train
    manifest = pd.DataFrame(
        [(f"m{i}", i % 2, "none", 0) for i in range(10)], columns=["image_id", "pneumothorax", "augmentation", "copy"]
    )
    label_only = manifest.head(3).assign(image_id=["l0", "l1", "l2"])
    one = phase(epochs=2)
    samples = with_label_only(epoch_samples(manifest, one, 0, params.seed), label_only, params, one, 0)
    batches = [batch for group in steps(samples, 4, 1, 0, 1) for batch in group]
    assert [sum(sample.image_id.startswith("l") for sample in batch) for batch in batches] == [1, 1, 1]
    shown = [sample.image_id for batch in batches for sample in batch]
    assert len({name for name in shown if name.startswith("m")}) == 9  # the tenth fills no batch
    assert {name for name in shown if name.startswith("l")} == {"l0", "l1", "l2"}  # a pass before the next
    assert len({sample.seed for sample in samples}) == len(samples)
    assert samples != with_label_only(epoch_samples(manifest, one, 1, params.seed), label_only, params, one, 1)
    halves = [[batch for group in steps(samples, 4, 1, rank, 2) for batch in group] for rank in (0, 1)]
    assert [sorted(map(str, left + right)) for left, right in zip(*halves, strict=True)] == [
        sorted(map(str, batch)) for batch in batches
    ]
    with pytest.raises(TrainingError, match="every image with a label alone is negative"):
        with_label_only(samples, label_only.assign(pneumothorax=0), params, phase(positive_share=0.5), 0)


def test_the_share_is_refused_where_it_cannot_be(partly: Layout, disks: Layout, tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"train\.label_only_share = 0\.5, but a unet without image head learns nothing"
    ):
        make_params(label_only_share=0.5)
    with pytest.raises(ValueError, match=r"of batch_size = 4 rounds to 0 images"):
        make_params(model=HEAD, label_only_share=0.1)
    with_share = make_params(model=HEAD, label_only_share=0.5)
    with pytest.raises(DataError, match="every image has a known mask"):
        load(disks, with_share)
    none = Layout(tmp_path)
    for path in (partly.images, partly.splits):
        (tmp_path / path.relative_to(partly.root)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path.relative_to(partly.root)).symlink_to(path)
    fresh_dir(none.masks)
    table = read_table(partly.annotations, ANNOTATIONS)
    table["mask_known"] = 1 - table["pneumothorax"]
    write_table(none.annotations, table, ANNOTATIONS)
    with pytest.raises(DataError, match="no image with pneumothorax has a known mask"):
        load_fold(none, 1, with_share)


def test_a_network_of_maps_alone_leaves_them_out(partly: Layout, caplog: pytest.LogCaptureFixture):
    data = load(partly, make_params())
    assert "5 images without a known mask teach nothing" in caplog.text
    assert sorted(data.manifest["image_id"]) == [f"image{number:02d}" for number in range(5, 14)]


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")
def test_the_share_is_the_same_for_any_number_of_workers(partly: Layout, tmp_path: Path):
    """And so is the dropout of the image head."""
    runs = [
        train(partly, tmp_path / str(workers), make_params(model=HEAD, label_only_share=0.5, workers=workers))
        for workers in (0, 2)
    ]
    assert_same(*runs)
