"""A page as one file: nothing is left outside, and no picture is inside twice."""

import base64
import re
from pathlib import Path

from pneumoseg.report.single_file import single_file


def test_every_picture_is_inside_once(tmp_path: Path) -> None:
    pictures = {"cases/a-1.jpg": b"radiograph", "cases/a-1-truth.png": b"layer", "plots/x y.svg": b"<svg/>"}
    for name, content in pictures.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    panel = '<img src="cases/a-1.jpg" data-file="cases/a-1.jpg" alt="">'
    layer = '<img class="agreement" src="cases/a-1-truth.png" data-file="cases/a-1-truth.png" alt="">'
    plot = '<img src="plots/x%20y.svg" alt="of x" width="4" height="3">'
    (tmp_path / "index.html").write_text(f"<style>\np {{ }}\n</style>{panel}{panel}{layer}{plot}<img alt=''>")
    html = single_file(tmp_path / "index.html")
    assert not re.search(r'(src|href)="(?!data:)', html)
    for content in pictures.values():
        assert html.count(base64.b64encode(content).decode()) == 1
    shown = re.findall(r'<img class="([^"]+)" src="[^"]+" data-file="([^"]+)"', html)
    assert shown == [*[("p0", "cases/a-1.jpg")] * 2, ("agreement p1", "cases/a-1-truth.png")]
    assert "img.p1 { background: url(data:image/png;base64," in html
    assert '<img src="data:image/svg+xml;base64,' in html
