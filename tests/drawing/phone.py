"""How small the text of a figure is on a phone, where the report's style gives figures a least width."""

import re
from pathlib import Path

CSS = Path(__file__).resolve().parents[2] / "src/pneumoseg/report/templates/style.css"


def smallest_text_px(svg: Path) -> float:
    """The smallest font of a figure that is shown at its least width; CSS pixels."""
    text = svg.read_text()
    least = re.search(r"\.plot > img \{ min-width: ([\d.]+)rem; \}", CSS.read_text())
    width = re.search(r'viewBox="0 0 ([\d.]+) ', text)
    fonts = [float(size) for size in re.findall(r"font(?:-size)?:[^;\"]*?([\d.]+)px", text)]
    assert least is not None
    assert width is not None
    return min(fonts) * 16 * float(least[1]) / float(width[1])
