"""A network in a folder, and weights from a file: what is read back is what was written, or a clear refusal."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from pneumoseg.config.model import ModelParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.storage import load_model, load_spec, save_model
from pneumoseg.networks.weights import describe_difference
from pneumoseg.shared.errors import DataError, ParameterError

pytestmark = pytest.mark.slow

PLAIN = {
    "architecture": "unet",
    "encoder": "mobilenet_v2",
    "encoder_depth": 3,
    "encoder_image_px": None,
    "weights": None,
    "in_channels": 3,
    "decoder_channels": [16, 16, 16],
    "attention": None,
    "norm": "batch",
    "hypercolumn": False,
    "deep_supervision_levels": 0,
    "aspp": {"enabled": False, "channels": 8, "rates": [2], "dropout": 0.5},
    "image_head": {"enabled": False, "pooling": "average", "dropout": 0.2},
}


def make(**changes):
    sections = {key: {**PLAIN[key], **value} for key, value in changes.items() if isinstance(value, dict)}
    return ModelParams.model_validate_json(json.dumps({**PLAIN, **changes, **sections}))


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return build_network(make(**changes))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download was tried")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", refuse)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)


@pytest.fixture
def saved(tmp_path):
    model = build(image_head={"enabled": True})
    with torch.no_grad():  # batch statistics that are not the initial ones
        model(torch.randn(4, 3, 32, 32))
    save_model(tmp_path / "fold0", model, make(image_head={"enabled": True}), 64)
    return tmp_path / "fold0", model.eval()


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


def test_a_network_comes_back_with_its_description(saved):
    folder, model = saved
    again, spec = load_model(folder)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(again(x).mask, model(x).mask)
    assert torch.equal(again(x).image, model(x).image)
    assert not again.training
    assert spec.size_px == 64
    assert spec.mean == again.mean == (0.485, 0.456, 0.406)
    assert spec.params == make(image_head={"enabled": True})
    assert load_spec(folder) == spec


def test_the_folder_is_the_same_bytes_each_time_and_holds_two_files(saved, tmp_path):
    folder, model = saved
    layouts = (model, model.to(memory_format=torch.channels_last), torch.optim.swa_utils.AveragedModel(model))
    for index, form in enumerate(layouts):
        other = tmp_path / f"other{index}"
        save_model(other, form, make(image_head={"enabled": True}), 64)
        assert sorted(path.name for path in other.iterdir()) == ["model.json", "weights.safetensors"]
        for path in other.iterdir():
            assert path.read_bytes() == (folder / path.name).read_bytes()


def test_loading_never_asks_the_hub_for_weights(saved):
    folder, _ = saved
    content = json.loads((folder / "model.json").read_text())
    content["params"]["weights"] = "imagenet"
    (folder / "model.json").write_text(json.dumps(content))
    assert load_model(folder)[1].params.weights == "imagenet"


def damage_weights(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def drop_a_weight(folder):
    weights = load_file(folder / "weights.safetensors")
    weights.pop("segmentation_head.0.bias")
    save_file(weights, folder / "weights.safetensors")


def edit_description(**changes):
    def edit(folder):
        content = json.loads((folder / "model.json").read_text())
        for key, value in changes.items():
            content[key] = {**content[key], **value} if isinstance(value, dict) else value
        (folder / "model.json").write_text(json.dumps(content))

    return edit


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: (folder / "weights.safetensors").unlink(), "weights.safetensors: not there"),
        (lambda folder: (folder / "model.json").unlink(), "model.json: not there"),
        (lambda folder: (folder / "model.json").write_text("{"), "model.json: not readable as JSON"),
        (lambda folder: (folder / "model.json").write_text("[]"), "model.json: format None"),
        (damage_weights, "weights.safetensors: not a readable safetensors file"),
        (drop_a_weight, r"1 missing \(segmentation_head.0.bias\)"),
        (edit_description(format=99), "format 99"),
        (edit_description(params={"architecture": "manet"}), "does not fit the network"),
        (edit_description(params={"encoder_depth": 9}), "not a model description"),
        (edit_description(params={"encoder": "resnet9000"}), "cannot be built here"),
        (edit_description(params={"stranger": 1}), "not a model description"),
        (edit_description(mean=[0.5]), "mean, std or size_px"),
        (edit_description(size_px=0), "mean, std or size_px"),
        (edit_description(size_px=None), "not a model description"),
    ],
)
def test_a_damaged_folder_is_refused_with_its_name(saved, harm, told):
    folder, _ = saved
    harm(folder)
    with pytest.raises(DataError, match=told) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value)


def test_weights_of_a_model_folder_are_taken_whole(saved, caplog):
    folder, model = saved
    with caplog.at_level(logging.WARNING):
        other = build(1, weights=str(folder), image_head={"enabled": True})
    assert same_weights(other.state_dict(), model.state_dict())
    assert not caplog.messages


def test_another_decoder_starts_random_and_says_so(saved, caplog):
    folder, model = saved
    with caplog.at_level(logging.WARNING):
        other = build(1, weights=str(folder / "weights.safetensors"), architecture="linknet", decoder_channels=None)
    assert same_weights(other.encoder.state_dict(), model.encoder.state_dict())
    random = build(1, architecture="linknet", decoder_channels=None)
    assert same_weights(other.decoder.state_dict(), random.decoder.state_dict())
    assert any("decoder starts random" in message for message in caplog.messages)
    assert any("not used" in message and "image_head" in message for message in caplog.messages)


def test_encoder_only_files_with_a_classifier_are_taken(tmp_path, caplog):
    source = build(3)
    bare = {name: value.clone() for name, value in source.encoder.state_dict().items()}
    save_file({**bare, "classifier.1.weight": torch.zeros(10, 4)}, tmp_path / "encoder.safetensors")
    other = build(4, weights=str(tmp_path / "encoder.safetensors"))
    assert same_weights(other.encoder.state_dict(), source.encoder.state_dict())
    assert not caplog.messages


def test_timm_files_are_taken_by_their_own_names(tmp_path):
    import timm

    torch.manual_seed(5)
    source = timm.create_model("convnextv2_atto", pretrained=False)
    save_file(source.state_dict(), tmp_path / "timm.safetensors")
    assert "stages.0.blocks.0.conv_dw.weight" in source.state_dict()
    weights = str(tmp_path / "timm.safetensors")
    other = build(6, encoder="tu-convnextv2_atto", encoder_depth=5, decoder_channels=None, weights=weights)
    mine, theirs = other.encoder.state_dict(), source.state_dict()
    assert torch.equal(mine["model.stages_0.blocks.0.conv_dw.weight"], theirs["stages.0.blocks.0.conv_dw.weight"])
    assert torch.equal(mine["model.stem_0.weight"], theirs["stem.0.weight"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"encoder": "resnet18"}, r"does not fit model.encoder .*missing"),
        ({"in_channels": 1}, r"does not fit .*model.in_channels: 1 of another shape \(encoder.features.0.0.weight"),
    ],
)
def test_weights_of_another_encoder_are_refused(saved, changes, told):
    folder, _ = saved
    with pytest.raises(ParameterError, match=told):
        build(weights=str(folder), **changes)


def test_an_incomplete_encoder_is_refused(saved, tmp_path):
    folder, _ = saved
    weights = load_file(folder / "weights.safetensors")
    weights.pop("encoder.features.0.1.running_mean")
    save_file(weights, tmp_path / "partial.safetensors")
    with pytest.raises(ParameterError, match="1 missing"):
        build(weights=str(tmp_path / "partial.safetensors"))


def test_a_missing_or_damaged_file_is_never_replaced_by_random_weights(tmp_path):
    with pytest.raises(ParameterError, match=r"model.weights = .*no such file.*mobilenet_v2 \(imagenet\)"):
        build(weights=str(tmp_path / "nothing.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    with pytest.raises(DataError, match="not a readable safetensors file"):
        build(weights=str(tmp_path / "bad.safetensors"))


def test_group_norm_takes_the_scales_of_batch_norm_weights(saved):
    folder, model = saved
    other = build(2, weights=str(folder), norm="group", image_head={"enabled": True})
    theirs = model.state_dict()["encoder.features.0.1.weight"]
    assert torch.equal(other.state_dict()["encoder.features.0.1.weight"], theirs)
    assert not any(name.endswith("running_mean") for name in other.state_dict())


def test_describe_difference_names_each_kind():
    wanted = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1)}
    found = {"a": torch.zeros(2), "b": torch.zeros(4), "d": torch.zeros(1)}
    text = "1 missing (c); 1 unexpected (d); 1 of another shape (b (4,) for (3,))"
    assert describe_difference(found, wanted) == text
    assert describe_difference(wanted, wanted) == ""


class TestPublished:
    """Published weights without a network: the hub's function is replaced."""

    @pytest.fixture
    def published(self, tmp_path):
        source = build(7, encoder_depth=5, decoder_channels=None)
        classifier = {"classifier.1.weight": torch.zeros(10, 4), "classifier.1.bias": torch.zeros(10)}
        save_file({**source.encoder.state_dict(), **classifier}, tmp_path / "model.safetensors")
        return source, tmp_path / "model.safetensors"

    def test_they_are_really_loaded(self, monkeypatch, published):
        source, path = published
        asked = []

        def download(repo_id, filename, revision):
            asked.append((repo_id, filename))
            return str(path)

        monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", download)
        model = build(8, weights="imagenet", encoder_depth=5, decoder_channels=None)
        assert same_weights(model.encoder.state_dict(), source.encoder.state_dict())
        assert asked[-1] == ("smp-hub/mobilenet_v2.imagenet", "model.safetensors")

    def test_one_channel_gets_the_sum_of_the_three(self, monkeypatch, published):
        source, path = published
        monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", lambda *a, **k: str(path))
        model = build(8, weights="imagenet", encoder_depth=5, decoder_channels=None, in_channels=1)
        theirs = source.encoder.state_dict()["features.0.0.weight"]
        assert torch.allclose(model.encoder.state_dict()["features.0.0.weight"], theirs.sum(1, keepdim=True))

    @pytest.mark.parametrize("encoder", ["mobilenet_v2", "tu-convnextv2_atto"])
    def test_a_failed_download_says_what_to_do(self, monkeypatch, encoder):
        from huggingface_hub.errors import LocalEntryNotFoundError

        def fail(*args, **kwargs):
            raise LocalEntryNotFoundError("no connection")

        monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", fail)
        monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
        told = rf"(?s)model.weights = imagenet: the weights of {encoder} .*no connection.*HF_HOME.*null"
        with pytest.raises(ParameterError, match=told):
            build(encoder=encoder, encoder_depth=5, decoder_channels=None, weights="imagenet")

    def test_an_encoder_without_published_weights_is_refused(self):
        with pytest.raises(ParameterError, match=r"model.weights = imagenet: none are published .*it has none"):
            build(encoder="tu-darknet17", encoder_depth=5, decoder_channels=None, weights="imagenet")
        with pytest.raises(ParameterError, match=r"it has imagenet\+5k"):
            build(encoder="dpn68b", encoder_depth=5, decoder_channels=None, weights="imagenet")

    def test_the_licence_of_mit_weights_is_told(self, monkeypatch, caplog):
        def fail(*args, **kwargs):
            raise OSError("no connection")

        monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", fail)
        with caplog.at_level(logging.WARNING), pytest.raises(ParameterError):
            build(encoder="mit_b0", encoder_depth=5, decoder_channels=None, weights="imagenet")
        assert any("NVIDIA" in message and "not for commercial use" in message for message in caplog.messages)
