"""params.yaml and the defaults in code: equal, checked strictly, and told key by key where something is wrong."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field
from ruamel.yaml import YAML

from pneumoseg.config import Params, load_params, parse_params, read_yaml
from pneumoseg.config.flat import merge, same
from pneumoseg.config.loss import TERMS, LossParams, TermParams
from pneumoseg.config.section import Section
from pneumoseg.shared.errors import ParameterError

ROOT = Path(__file__).resolve().parents[2]
CONTENT: dict[str, Any] = read_yaml(ROOT / "params.yaml")


def with_values(**sections: dict[str, Any]) -> dict[str, Any]:
    return merge(CONTENT, sections)


def test_defaults_are_those_of_params_yaml():
    """Value by value and in the file's own words: no key is missing there, none is unknown."""
    assert load_params(ROOT / "params.yaml") == Params()
    assert same(Params().written(), CONTENT)
    assert parse_params(Params().model_dump(mode="json")) == Params() == parse_params({})


def test_a_complete_file_is_not_called_old(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    load_params(ROOT / "params.yaml")
    content = with_values(evaluate={"external": {"b": {"root": "/b", "annotations": "b.csv"}}})
    YAML().dump(content, tmp_path / "params.yaml")
    assert "b" in load_params(tmp_path / "params.yaml").evaluate.external
    assert caplog.text == ""


def test_parts_of_lists_may_leave_keys_out():
    params = parse_params(
        with_values(
            train={"phases": [{"size_px": 64, "epochs": 2, "loss": {"bce": {"weight": 2.0}}}]},
            predict={"members": [{"source": "other"}]},
            augment={"recipes": {"mine": [{"one_of": ["gamma", "clahe"]}]}},
            evaluate={"external": {"b": {"root": "/b", "annotations": "b.csv"}}},
        )
    )
    phase = params.train.phases[0]
    assert (phase.name, phase.start, phase.lr) == ("main", "best", None)
    assert phase.loss == LossParams(bce=params.train.loss.bce.model_copy(update={"weight": 2.0}))
    assert (params.predict.members[0].weight, params.predict.members[0].use) == (1.0, "both")
    assert params.augment.recipes["mine"][0].probability == 1.0


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"lrr": 1.0}}, r"^params\.yaml: train\.lrr is not a parameter; did you mean lr\?$"),
        ({"tune": {"qqq": 1}}, r"tune\.qqq is not a parameter; known here: kinds, objective, "),
        ({"train": {"phases": [{"size_px": 64, "epochs": 2, "croppx": 1}]}}, r"phases\.0\.croppx .* mean crop_px\?"),
        ({"train": {"phases": [{"epochs": 2}]}}, r"train\.phases\.0\.size_px is missing and has no default; add it"),
        ({"evaluate": {"external": {"a": {"root": "a"}}}}, r"evaluate\.external\.a\.annotations is missing"),
        ({"train": {"lr": "0.1"}}, r'train\.lr = "0\.1": Input should be a valid number'),
        ({"train": {"lr": -1}}, r"train\.lr = -1: Input should be greater than 0"),
        ({"split": {"seed": 3.0}}, r"split\.seed = 3\.0: Input should be a valid integer"),
        ({"train": {"loss": {"dcie": {"weight": 1.0}}}}, r"train\.loss\.dcie is not a parameter; did you mean dice\?"),
    ],
)
def test_mistakes_name_key_value_and_fix(sections: dict[str, Any], message: str):
    with pytest.raises(ParameterError, match=message):
        parse_params(with_values(**sections))


class Sharp(TermParams):
    gamma: float = Field(2.0, ge=1)
    limits: tuple[int, ...] = (1,)


def test_a_further_loss_term_needs_only_a_name():
    content = with_values(train={"loss": {"sharp": {"weight": 0.5, "limits": [2, 3]}}})
    with TERMS.temporarily("sharp", Sharp):
        params = parse_params(content)
        assert params.train.loss.terms["sharp"] == Sharp(weight=0.5, limits=(2, 3))
        assert list(params.train.loss.terms) == ["dice", "bce", "focal", "lovasz", "tversky", "sharp"]
        assert same(params.written(), merge(content, {"train": {"loss": {"sharp": {"gamma": 2.0}}}}))
        assert parse_params(params.model_dump(mode="json")) == params
        with pytest.raises(ParameterError, match=r"train\.loss\.sharp\.gamma = 0: .* greater than or equal to 1"):
            parse_params(with_values(train={"loss": {"sharp": {"gamma": 0}}}))
        with pytest.raises(ParameterError, match=r"train\.loss\.shrp is not a parameter; did you mean sharp\?"):
            parse_params(with_values(train={"loss": {"shrp": {}}}))
        alone = {"dice": {"weight": 0.0}, "bce": {"weight": 0.0}}
        assert parse_params(with_values(train={"loss": alone | {"sharp": {"weight": 1.0}}}))
    with pytest.raises(ParameterError, match="every mask term has weight 0"):
        parse_params(with_values(train={"loss": alone}))
    with pytest.raises(ParameterError, match=r"train\.loss\.sharp is not a parameter"):
        parse_params(content)


class Inner(Section):
    BEFORE: ClassVar[dict[str, Any]] = {"later": 1}
    RENAMED: ClassVar[dict[str, str]] = {"old": "new"}
    REMOVED: ClassVar[dict[str, Any]] = {"gone": False}

    new: float = 0.0
    later: int = 2


class Outer(Section):
    one: Inner = Inner()
    several: tuple[Inner, ...] = ()
    named: dict[str, Inner] = Field({})
    chosen: float | Inner | None = None


def test_a_file_means_what_it_meant_before_a_key_existed():
    """The default in code is the new behaviour; a file without the key keeps the old one, at any depth."""
    assert Outer().one.later == 2
    assert Outer.read({}, "f").one.later == 1
    content = {"one": {"new": 1.0}, "several": [{}, {"later": 3}], "named": {"a": {"old": 4.0}}, "chosen": {}}
    found = Outer.read(content, "f")
    assert [found.one.later, *(item.later for item in found.several), found.named["a"].later] == [1, 1, 3, 1]
    assert (found.named["a"].new, found.chosen) == (4.0, Inner(later=1))


def test_old_names_count_and_removed_keys_only_where_they_did_nothing():
    assert Outer.read({"one": {"old": 5.0, "gone": False}}, "f").one == Inner(new=5.0, later=1)
    with pytest.raises(ParameterError, match=r"f: one\.gone is not a parameter; it was removed, and only false, which"):
        Outer.read({"one": {"gone": True}}, "f")


def test_an_older_file_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    text = (ROOT / "params.yaml").read_text("utf-8")
    (tmp_path / "params.yaml").write_text(
        text.replace("  confidence: 0.95\n", "").replace("  vote_threshold: 0.5\n", "")
    )
    with caplog.at_level(logging.INFO):
        assert load_params(tmp_path / "params.yaml") == Params()
    (record,) = caplog.records
    assert "has no explore.confidence, which counts as 0.95; no predict.vote_threshold, " in record.getMessage()
    assert record.getMessage().endswith("pneumoseg params upgrade mends it")


def test_a_commit_of_digits_alone_has_to_be_quoted():
    with pytest.raises(ParameterError, match=r"predict\.members\.0\.source = 8823854: .*put it in quotes"):
        parse_params({"predict": {"members": [{"source": 8823854}]}})


def test_a_mistake_in_an_item_is_told_once_and_a_date_is_told_as_one():
    with pytest.raises(ParameterError) as caught:
        parse_params({"train": {"phases": [{"size_px": 64, "epochs": 0}]}})
    assert str(caught.value).startswith("params.yaml: train.phases.0.epochs = 0: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(ParameterError, match=r'train\.seed = "2024-05-01": '):
        parse_params({"train": {"seed": datetime.date(2024, 5, 1)}})
