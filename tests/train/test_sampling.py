"""Which images an epoch shows: counts by hand, and the same whatever the number of processes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumoseg.config.train import PhaseParams, PositiveShare
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.train.sampling import Sample, epoch_samples, share_at, steps


def phase(**values) -> PhaseParams:
    defaults = {
        "name": "main", "size_px": 64, "crop_px": None, "epochs": 5, "positive_share": None, "lr": None,
        "scheduler": None, "loss": None, "freeze_encoder_epochs": 0, "start": "best",
    }  # fmt: skip
    return PhaseParams(**(defaults | values))


@pytest.fixture
def manifest() -> pd.DataFrame:
    """4 positives, 12 negatives, and 8 augmented copies of the positives."""
    originals = [(f"p{i}", 1, "none", 0) for i in range(4)] + [(f"n{i}", 0, "none", 0) for i in range(12)]
    copies = [(f"p{i}", 1, "gamma", copy) for i in range(4) for copy in (1, 2)]
    return pd.DataFrame(originals + copies, columns=["image_id", "pneumothorax", "augmentation", "copy"])


def test_the_manifest_as_it_is(manifest: pd.DataFrame):
    samples = epoch_samples(manifest, phase(), 0, 42)
    shown = sorted((sample.image_id, sample.augmentation) for sample in samples)
    assert shown == sorted(zip(manifest["image_id"], manifest["augmentation"], strict=True))
    assert len({sample.seed for sample in samples}) == 24


@pytest.mark.parametrize(("share", "negatives"), [(0.8, 1), (0.5, 4), (0.25, 12), (0.2, 16), (1.0, 0)])
def test_a_share_takes_every_original_positive_and_the_negatives_that_give_it(
    manifest: pd.DataFrame, share: float, negatives: int
):
    samples = epoch_samples(manifest, phase(positive_share=share), 0, 42)
    ids = [sample.image_id for sample in samples]
    assert sorted(name for name in ids if name.startswith("p")) == ["p0", "p1", "p2", "p3"]
    assert sum(name.startswith("n") for name in ids) == negatives
    assert {sample.augmentation for sample in samples} == {"none"}
    if negatives <= 12:
        assert len(set(ids)) == len(ids)


def test_share_falls_linearly_from_first_to_last_epoch():
    falling = PositiveShare(start=0.8, end=0.2)
    assert [share_at(falling, epoch, 4) for epoch in range(4)] == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert share_at(falling, 0, 1) == 0.8


def test_epochs_differ_and_each_is_repeatable(manifest: pd.DataFrame):
    first, second = epoch_samples(manifest, phase(), 0, 42), epoch_samples(manifest, phase(), 1, 42)
    assert first == epoch_samples(manifest, phase(), 0, 42)
    assert [sample.image_id for sample in first] != [sample.image_id for sample in second]
    assert not {sample.seed for sample in first} & {sample.seed for sample in second}
    assert first != epoch_samples(manifest, phase(), 0, 43)


@given(st.integers(2, 60), st.integers(1, 8), st.integers(1, 3), st.integers(1, 3))
def test_processes_together_see_what_one_sees(count: int, per_process: int, accumulate: int, world_size: int):
    samples = [Sample(str(number), "none", number) for number in range(count)]
    size = per_process * world_size
    alone = list(steps(samples, size, accumulate, 0, 1))
    shards = [list(steps(samples, size, accumulate, rank, world_size)) for rank in range(world_size)]
    if count >= size * accumulate:
        assert {len(shard) for shard in shards} == {len(alone)} == {count // (size * accumulate)}
        for number, step in enumerate(alone):
            assert [len(batch) for batch in step] == [size] * accumulate
            for index, batch in enumerate(step):
                together = sorted(sample.seed for shard in shards for sample in shard[number][index])
                assert together == sorted(sample.seed for sample in batch)


def test_an_epoch_too_small_for_a_step_is_one_smaller_step():
    samples = [Sample(str(number), "none", number) for number in range(5)]
    assert [[len(batch) for batch in step] for step in steps(samples, 8, 1, 0, 1)] == [[5]]
    assert [[len(batch) for batch in step] for step in steps(samples, 2, 4, 0, 1)] == [[2, 2]]


def test_seeds_are_those_of_sha256():
    """The first eight bytes of SHA-256("42/main/0/order") as a big-endian number, halved: worked out by hand."""
    import hashlib

    digest = hashlib.sha256(b"42/main/0/order").hexdigest()[:16]
    assert derive_seed(42, "main", 0, "order") == int(digest, 16) // 2
    assert derive_seed(4, "2/main") != derive_seed(42, "main")
    assert np.iinfo(np.int64).max >= derive_seed("x") >= 0
