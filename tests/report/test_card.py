"""The model card as Markdown: blocks apart, marks and HTML of files shown as text."""

from pneumoseg.report.card import CardPart, card_markdown


def test_markdown_by_hand():
    parts = (CardPart("Data", ("One.", "Two *stars*."), ("a_b", "<b>&</b>\n# no heading")), CardPart("Limits"))
    assert card_markdown(parts, "Phantom data.") == (
        "# Model card: pneumothorax segmentation\n\n**Phantom data.**\n\n## Data\n\nOne.\n\nTwo \\*stars\\*.\n\n"
        "- a\\_b\n- &lt;b&gt;&amp;&lt;/b&gt; \\# no heading\n\n## Limits\n"
    )


def test_no_warning_leaves_no_hole():
    assert card_markdown((), "") == "# Model card: pneumothorax segmentation\n"
