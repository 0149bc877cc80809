"""Labels in the words of tables."""

from __future__ import annotations

from pneumoseg.sources.truth import BLANK, NEGATIVE_LABEL, POSITIVE, UNCERTAIN

_WORDS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "y", "positive", "pneumothorax"), POSITIVE),
    **dict.fromkeys(("0", "0.0", "false", "no", "n", "negative", "no pneumothorax", "no finding"), NEGATIVE_LABEL),
    **dict.fromkeys(("-1", "-1.0", "uncertain"), UNCERTAIN),
    **dict.fromkeys(("", "nan", "na", "none", "null"), BLANK),
}
#: Fluid and air in the pleural space is a pneumothorax, too.
NAMES = ("pneumothorax", "hydropneumothorax")


def label_of(text: str) -> str | None:
    """POSITIVE, NEGATIVE_LABEL, UNCERTAIN or BLANK of a cell such as 1, 0.0, -1, yes; None for anything else."""
    return _WORDS.get(text.strip().casefold())


def label_of_findings(findings: str, separator: str) -> str:
    """Whether a list of all findings has pneumothorax among them; BLANK where it is empty."""
    names = [name.strip().strip("'\"").strip().casefold() for name in findings.split(separator)]
    if not any(names):
        return BLANK
    return POSITIVE if any(name in NAMES for name in names) else NEGATIVE_LABEL
