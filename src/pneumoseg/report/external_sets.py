"""The section on external sets: one row a set beside the test set, and what the card says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pneumoseg.drawing.charts import Interval, interval_chart
from pneumoseg.report.inputs import Inputs, figure_of, mapping, texts_of
from pneumoseg.report.parts import Drawing, Section, Table, count_of, listed, number, percent

_OWN: Final = "own test set"
_COUNTS: Final = ("images", "with pneumothorax", "patients")
_SHOWN: Final[Mapping[str, str]] = {
    "dice_all": "Dice, all images",
    "all_empty": "all-empty Dice",
    "dice_pos": "Dice, positives only",
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
}
_SIZES: Final = (("dice_pos", "Dice"), ("auc", "AUC"), ("sensitivity", "sensitivity"))
_DRAWN: Final = (("auc", "AUC of the image probability"), ("dice_pos", "Dice, positives only"))
_PHANTOM: Final = " (phantom data)"
_LABEL: Final = 21  # characters that have room beside a chart
#: Beginnings of notes that the table, or another section, says already.
_SAID: Final = ("phantom data", "surface distances", "the tuned rule is not shown")
_ONE_SOURCE: Final = "All images come from one source; how the model does elsewhere was not measured."


@dataclass(frozen=True)
class ExternalSection(Section):
    """The section, with a second table: small and large pneumothoraces by set."""

    sizes: Table = field(default_factory=lambda: Table("", (), ()))


def external_section(inputs: Inputs) -> ExternalSection:
    """Figures by set, first those of the project's own test set."""
    if not inputs.external:
        return ExternalSection((f"No set is given. {_ONE_SOURCE} evaluate.external in params.yaml names such sets.",))
    rows = list(_rows(inputs))
    drawings: list[Drawing] = []
    for key, name in _DRAWN:
        places = [_place(label, figures, key) for label, figures in rows]
        chart = interval_chart(places, f"{name} by set", name, inputs.figure(key).value)
        drawings.append((chart, f"{name} by set with 95 % intervals; the dashed line is the {_OWN}."))
    main = tuple((label, *_counts(figures), *(_cell(figures, key) for key in _SHOWN)) for label, figures in rows)
    titles = ("set", *_COUNTS, *_SHOWN.values())
    return ExternalSection(tuple(_notes(inputs)), tuple(drawings), Table("External sets", titles, main), _sizes(inputs))


def _rows(inputs: Inputs) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Label and figures of every row; a set that shares images with data.root has a second one, without them."""
    yield _OWN, inputs.test
    for name, figures in inputs.external.items():
        yield _label(name, figures), figures
        without = mapping(figures, "without_shared")
        if without.get("n"):
            yield f"{name}, not shared", without


def _label(name: str, figures: Mapping[str, Any]) -> str:
    return f"{name}{_PHANTOM}" if figures.get("phantom") else name


def _counts(figures: Mapping[str, Any]) -> tuple[str, str, str]:
    positives = f"{number(figures.get('n_positive'))} ({percent(figures.get('prevalence'))})"
    return number(figures.get("n")), positives, number(figures.get("n_patients"))


def _cell(figures: Mapping[str, Any], key: str) -> str:
    figure = figure_of(figures, key)
    return number(figure.value, 2) if key == "all_empty" else figure.text(2)


def _place(label: str, figures: Mapping[str, Any], key: str) -> Interval:
    figure = figure_of(figures, key)
    note = f"({number(figures.get('n_positive'))} of {number(figures.get('n'))})"
    name = label.removesuffix(_PHANTOM)
    short = name if len(name) <= _LABEL else f"{name[: _LABEL - 9]}…{name[-8:]}"
    return Interval(short, figure.value, figure.low, figure.high, note)


def _sizes(inputs: Inputs) -> Table:
    """Small and large pneumothoraces of each set, as Thian et al. 2021 set them side by side."""
    rows = []
    for label, figures in ((_OWN, inputs.test), *((_label(*item), item[1]) for item in inputs.external.items())):
        groups = {
            record["group"]: record
            for record in figures.get("subgroups") or ()
            if isinstance(record, Mapping) and record.get("by") == "lesion_size"
        }
        small, large = (groups.get(size, {}) for size in ("small", "large"))
        cells = [number(small.get("n", 0)), number(large.get("n", 0))]
        for key, _ in _SIZES:
            cells += [figure_of(group, key).text(2) if group else number(None) for group in (small, large)]
        test = mapping(figures, "size_test")
        gap, p = figure_of(test, "auc_difference"), test.get("dice_permutation_p")
        rows.append((label, *cells, number(None) if gap.value is None else gap.text(2), number(p, 4)))
    titles = [f"{name}, {size}" for _, name in _SIZES for size in ("small", "large")]
    columns = ("set", "images, small", "images, large", *titles, "AUC, large - small", "p of the Dice difference")
    return Table("Small and large pneumothoraces by set", columns, tuple(rows))


def _notes(inputs: Inputs) -> Iterable[str]:
    yield (
        "Radiographs from elsewhere, judged by the same networks and the same decision rule: nothing was tuned on "
        "them. Predictive values and the Dice of all images rest on how frequent pneumothorax is in a set; AUC, "
        "sensitivity, specificity and the Dice of positives do not."
    )
    if any(mapping(figures, "overlap").get("images") for figures in inputs.external.values()):
        yield (
            "A set that shares radiographs or patients with data.root is not external as a whole: its second row "
            "leaves those images out."
        )
    for name, figures in inputs.external.items():
        notes = [note for note in texts_of(figures) if not note.startswith(_SAID)]
        if notes:
            yield f"{name}: {'; '.join(notes)}."


def card_points(inputs: Inputs) -> Iterable[str]:
    """What the model card says of each set."""
    for name, figures in inputs.external.items():
        yield _card_point(_label(name, figures), figures)
        shared = mapping(figures, "overlap").get("images")
        if not shared:
            continue
        without = mapping(figures, "without_shared")
        told = f"{name} shares the radiograph or the patient of {count_of(shared, 'image')} with the project's own data"
        yield f"{told}; {_card_point('without them', without)}" if without.get("n") else f"{told}: all it has."


def _card_point(label: str, figures: Mapping[str, Any]) -> str:
    def told(key: str) -> str:
        return figure_of(figures, key).text()

    return (
        f"{label}, {count_of(int(figures['n']), 'image')} ({number(figures.get('n_positive'))} with pneumothorax): "
        f"Dice of all images {told('dice_all')} beside an all-empty {number(figures['all_empty'])}, Dice of positives "
        f"{told('dice_pos')}, AUC {told('auc')}, sensitivity {told('sensitivity')}, specificity {told('specificity')}."
    )


def card_limit(inputs: Inputs) -> str:
    """What is known of the model outside its own data, as a limit."""
    real = [name for name, figures in inputs.external.items() if not figures.get("phantom")]
    if real:
        names = f"{count_of(len(real), 'external set')} ({listed(real)})"
        return f"Outside its own data the model was measured on {names}: how it does anywhere else was not."
    if inputs.external:
        return "The external sets are phantoms: how the model does on other hospitals' radiographs was not measured."
    return _ONE_SOURCE
