"""Progress where stderr is no terminal: lines in the log, no more than one a minute, and none of what is quick."""

import logging

from pneumoseg.shared import progress_lines
from pneumoseg.shared.parallel import map_threads
from pneumoseg.shared.progress_lines import follow


def test_a_line_a_minute(monkeypatch, caplog, capsys):
    caplog.set_level(logging.INFO)
    clock = [0.0]
    bar = follow(1000, "predict", "image")
    monkeypatch.setattr(bar, "_time", lambda: clock[0])
    bar.start_t = bar.last_print_t = 0.0
    for second in range(1, 200):
        clock[0] = float(second)
        bar.update()
    bar.close()
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(",")[0] for line in lines] == [f"predict: {count} of 1000 images" for count in (60, 120, 180)]
    assert "01:00 gone" in lines[0]
    assert capsys.readouterr().err == ""


def test_quick_work_and_hidden_bars_say_nothing(caplog, capsys):
    caplog.set_level(logging.INFO)
    assert map_threads(str, [1, 2], 0, "masks") == ["1", "2"]
    with follow(3, "epoch 1", "step", shown=False) as bar:
        bar.update(3)
    assert not caplog.records
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch, caplog, capsys):
    monkeypatch.setattr(progress_lines.sys.stderr, "isatty", lambda: True)
    with follow(2, "masks", "image") as bar:
        bar.update(2)
    assert "masks: 100%" in capsys.readouterr().err
    assert not caplog.records
