"""Ensembles worked out by hand: weights, votes, uses, scales, and where weights stay while they wait."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumoseg.config import parse_params
from pneumoseg.networks.building import build_network
from pneumoseg.networks.spec import ModelSpec
from pneumoseg.predict.predictor import MEAN, Combination, Group, Predictor
from pneumoseg.predict.runner import Runner, TrainedNetwork, Views, model_folders
from pneumoseg.shared.errors import DataError, ParameterError
from tests.predict.network_stubs import PARAMS, ROOT, classifier, network

IMAGE = np.zeros((40, 48), np.uint8)


def predict(groups: Sequence[Group], combination: Combination = MEAN, runner: Runner | None = None):
    """Left and right value of the map, and the image's probability, to four decimals: maps have steps of 1 / 65535."""
    (answer,) = Predictor(groups, runner, combination)([IMAGE])
    probability, score = answer.map, answer.probability
    assert probability.dtype == np.float32
    assert probability.shape == IMAGE.shape
    return tuple(round(float(value), 4) for value in (probability[0, 0], probability[0, -1], score))


def test_weighted_mean_of_experiments_each_the_mean_of_its_networks():
    groups = [Group((network(0.2, 0.4), network(0.6, 0.4)), 1.0), Group((network(0.8, 0.1),), 3.0)]
    # Left (0.4 + 3 * 0.8) / 4, right (0.4 + 3 * 0.1) / 4; scores are the highest of each: 0.4 and 0.8.
    assert predict(groups) == (0.7, 0.175, 0.7)


def test_votes_are_shares_of_networks_within_the_weight_of_their_experiment():
    groups = [Group((network(0.6, 0.2), network(0.4, 0.2), network(0.7, 0.51)), 1.0), Group((network(0.3, 0.9),), 2.0)]
    # Left (1 * 2/3 + 2 * 0) / 3, right (1 * 1/3 + 2 * 1) / 3.
    left, right, score = predict(groups, Combination("vote", 0.5))
    assert (left, right) == (pytest.approx(2 / 9, abs=1e-4), pytest.approx(7 / 9, abs=1e-4))
    # The image's probability is not a share of votes: highest mean of the first 1.7 / 3, of the second 0.9.
    assert score == pytest.approx((1.7 / 3 + 2 * 0.9) / 3, abs=1e-4)
    assert predict(groups, Combination("vote", 0.65))[:2] == (
        pytest.approx(1 / 9, abs=1e-4),
        pytest.approx(2 / 3, abs=1e-4),
    )


def test_a_probability_at_the_threshold_is_no_vote():
    assert predict([Group((network(0.6),))], Combination("vote", 0.6))[0] == 0.0


def test_a_member_for_the_image_and_members_for_the_mask():
    classifier = Group((network(0.9, head=0.3), network(0.9, head=0.5)), 5.0, "image")
    segmenter = Group((network(0.2, 0.6),), 2.0, "map")
    both = Group((network(0.4, 0.4, head=0.8),), 1.0)
    # Map: (2 * 0.2 + 0.4) / 3 and (2 * 0.6 + 0.4) / 3; image: (5 * 0.4 + 0.8) / 6.
    expected = (round(0.8 / 3, 4), round(1.6 / 3, 4), round(2.8 / 6, 4))
    assert predict([classifier, segmenter, both]) == expected
    # The same by vote at 0.5: only the segmenter's right half is above, 2 of 3.
    assert predict([classifier, segmenter, both], Combination("vote", 0.5)) == (0.0, round(2 / 3, 4), expected[2])


def test_an_image_member_without_heads_gives_the_highest_of_its_mean_map():
    groups = [Group((network(0.2, 0.6), network(0.2, 0.2)), 1.0, "image"), Group((network(0.9),), 1.0, "map")]
    assert predict(groups) == (0.9, 0.9, 0.4)
    # One head of two does not count: as in a fold whose checkpoints differ.
    mixed = [Group((network(0.2, 0.6, head=0.99), network(0.2, 0.2)), 1.0)]
    assert predict(mixed) == (0.2, 0.4, 0.4)


def test_masks_alone_leave_the_highest_of_the_combined_map():
    groups = [Group((network(0.2, 0.6),), 1.0, "map"), Group((network(0.6, 0.1),), 1.0, "map")]
    assert predict(groups) == (0.4, 0.35, 0.4)


@pytest.mark.parametrize("kind", ["mean", "vote"])
def test_networks_without_maps_give_the_image_probability_alone(without_maps: None, kind: str):
    said = [Group((classifier(0.2), classifier(0.4)), 1.0), Group((classifier(0.9),), 3.0)]
    runner = Runner(views=Views(horizontal_flip=True, scales=(1.0, 1.5)))
    (answer,) = Predictor(said, runner, Combination(kind, 0.5))([IMAGE])
    assert answer.map is None
    assert answer.probability == pytest.approx((0.3 + 3 * 0.9) / 4, abs=1e-4)
    segmenter = Group((network(0.2, 0.6),), 1.0, "map")
    beside = Group((classifier(0.9),), 1.0, "image")
    assert predict([segmenter, beside]) == (0.2, 0.6, 0.9)
    with pytest.raises(DataError, match="give no map can predict along"):
        Predictor([segmenter, Group((classifier(0.9),))])


def test_no_network_and_no_maps_are_errors():
    for groups in ([Group(())], [Group((network(0.5),), 1.0, "image")]):
        with pytest.raises(DataError, match="dvc repro train"):
            Predictor(groups)


@given(
    st.lists(
        st.tuples(st.floats(0.01, 10), st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4)), min_size=1, max_size=4
    )
)
def test_a_mean_lies_between_its_members_and_knows_no_scale_of_weights(members):
    groups = [Group(tuple(network(value) for value in values), weight) for weight, values in members]
    expected = sum(weight * np.mean(values) for weight, values in members) / sum(weight for weight, _ in members)
    assert predict(groups)[0] == pytest.approx(expected, abs=1e-4)
    doubled = [Group(group.networks, group.weight * 2) for group in groups]
    assert predict(doubled)[0] == pytest.approx(predict(groups)[0], abs=2e-4)


def test_networks_see_every_scale_and_the_maps_are_averaged_at_the_original_size():
    member = network(0.2, 0.6, size_px=32)
    runner = Runner(views=Views(scales=(1.0, 0.7, 1.5)))
    left, right, _ = predict([Group((member,))], runner=runner)
    # 0.7 * 32 = 22.4 is nearest to 3 * 8.
    assert member.model.seen_px == [32, 24, 48]
    assert (left, right) == (0.2, 0.6)


@pytest.mark.slow
def test_one_scale_is_the_prediction_at_the_trained_size_bit_for_bit():
    model = build_network(PARAMS.model).eval()
    group = Group((TrainedNetwork(model, ModelSpec(PARAMS.model, 64, model.mean, model.std)),))
    image = np.random.default_rng(0).integers(0, 255, (50, 70)).astype(np.uint8)
    (plain,) = Predictor([group])([image])
    (one,) = Predictor([group], Runner(views=Views(scales=(1.0,))))([image])
    (two,) = Predictor([group], Runner(views=Views(scales=(1.0, 1.5))))([image])
    (large,) = Predictor([group], Runner(views=Views(scales=(1.5,))))([image])
    assert np.array_equal(plain.map, one.map)
    assert plain.probability == one.probability
    np.testing.assert_allclose(two.map, (plain.map + large.map) / 2, atol=1e-5)
    assert two.probability == pytest.approx(float(two.map.max()), abs=1e-4)
    assert large.probability != plain.probability


@pytest.mark.slow
def test_scales_that_a_network_cannot_take_are_refused():
    with pytest.raises(ParameterError, match=r"\[1\.0, 1\.01\].*32 px, in steps of 8.*\[32, 32\]"):
        Views(scales=(1.0, 1.01)).check(network(0.5))
    params = PARAMS.model.model_copy(
        update={
            "architecture": "unet", "encoder": "tu-maxvit_nano_rw_256", "encoder_image_px": 64, "encoder_depth": 5,
            "weights": None,
        }
    )  # fmt: skip
    model = build_network(params)
    fixed = TrainedNetwork(model, ModelSpec(params, 64, model.mean, model.std))
    Views(scales=(1.0,)).check(fixed)
    with pytest.raises(ParameterError, match=r"1\.5 makes 96 px.*maxvit.*set predict\.scales to \[1\.0\]"):
        Views(scales=(1.0, 1.5)).check(fixed)


def test_networks_beyond_the_limit_wait_elsewhere_and_change_nothing():
    """The device is a CPU here too: which networks stay is what is tested."""
    members = [network(value) for value in (0.1, 0.3, 0.8)]
    size = members[0].nbytes
    assert size == 8
    tight = Runner(limit_bytes=2 * size)
    predictor = Predictor([Group(tuple(members))], tight)
    assert predictor.block_batches > 1
    images = [IMAGE] * 5
    results = predictor(images, batch_size=2)
    assert tight._resident == set(members[:2])
    free = Predictor([Group(tuple(members))])
    assert free.block_batches == 1
    for answer, other in zip(results, free(images), strict=True):
        assert np.array_equal(answer.map, other.map)
        assert answer.probability == other.probability
    # The next task needs another network: those of the last one make room for it.
    Predictor([Group((members[2], members[0]))], tight)
    assert tight._resident == {members[0]}


def test_checkpoints_are_numbered_folders_and_nothing_else(tmp_path: Path):
    for name in ("checkpoint3", "checkpoint2", "checkpoint", "checkpoint2_old", "my_checkpoint2", "checkpoints"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint4").touch()
    assert [path.name for path in model_folders(tmp_path)] == [tmp_path.name, "checkpoint2", "checkpoint3"]
    (tmp_path / "checkpoint5").mkdir()
    with pytest.raises(DataError, match=r"checkpoints \[2, 3, 5\]"):
        model_folders(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"own_weight": 0}, "no member makes maps"),
        ({"own_weight": 0.0, "members": [{"source": "a", "weight": 1.0, "use": "image"}]}, "no member makes maps"),
        ({"scales": [1.0, 1.0]}, "give each scale once"),
        ({"scales": []}, "at least 1"),
        ({"scales": [0.0]}, "greater than or equal to 0.25"),
        ({"members": [{"source": "a", "weight": 0.0, "use": "map"}]}, "greater than 0"),
        ({"members": [{"weight": 1.0}]}, "members.0.source is missing"),
        (
            {"members": [{"source": "a", "weight": 1.0, "use": "both"}, {"source": "a", "weight": 2.0, "use": "map"}]},
            "a twice for the same use",
        ),
        ({"combine": "median"}, "mean"),
        ({"vote_threshold": 1.0}, "less than 1"),
    ],
)
def test_impossible_parameters_are_refused(changes, message):
    from ruamel.yaml import YAML

    content = YAML(typ="safe").load(ROOT / "params.yaml")
    content["predict"] |= changes
    with pytest.raises(ParameterError, match=message):
        parse_params(content)
