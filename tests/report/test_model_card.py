"""The model card as Markdown: blocks apart, marks and HTML of files shown as text."""

from pneumoseg.report.model_card import card_markdown
from pneumoseg.report.parts import Part


def test_markdown_by_hand():
    parts = (Part("Data", ("One.", "Two *stars*."), ("a_b", "<b>&</b>\n# no heading")), Part("Limits"))
    assert card_markdown(parts, "segmentation", "Phantom data.") == (
        "# Model card: pneumothorax segmentation\n\n**Phantom data.**\n\n## Data\n\nOne.\n\nTwo \\*stars\\*.\n\n"
        "- a\\_b\n- &lt;b&gt;&amp;&lt;/b&gt; \\# no heading\n\n## Limits\n"
    )


def test_no_warning_leaves_no_hole():
    assert card_markdown((), "detection", "") == "# Model card: pneumothorax detection\n"
