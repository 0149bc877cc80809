"""One Ctrl-C is enough wherever it strikes: in a callback, in a package's C code, where a pool starts a process."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from pneumoseg import config, stage
from pneumoseg.shared import interruption
from pneumoseg.shared.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def pythons_own_handler():
    """As in a terminal: a test run that a shell started in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


class Referred:
    pass


def press_in_a_callback():
    """Python prints what a weak reference's callback raises, and goes on."""
    referred = Referred()
    reference = weakref.ref(referred, lambda _: press())
    del referred
    assert reference() is None


def test_python_drops_it_in_a_callback(monkeypatch):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: dropped.append(told.exc_type))
    press_in_a_callback()
    time.sleep(0.3)
    assert dropped == [KeyboardInterrupt]


def test_what_python_drops_is_raised_again():
    @interruption.watched()
    def work():
        press_in_a_callback()
        time.sleep(20)

    begun, hook = time.monotonic(), sys.unraisablehook
    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.monotonic() - begun < 10
    assert sys.unraisablehook is hook


def test_other_errors_of_callbacks_are_told_as_before(monkeypatch):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: dropped.append(told.exc_type))
    with interruption.watched():
        referred = Referred()
        reference = weakref.ref(referred, lambda _: 1 / 0)
        del referred
        assert reference() is None
    assert dropped == [ZeroDivisionError]


def test_held_until_work_may_stop():
    reached = []

    @interruption.held()
    def work():
        interruption.check()
        press()
        reached.append("after the press")
        interruption.check()
        reached.append("after the check")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["after the press"]
    interruption.check()  # forgotten with the block


def test_held_ends_with_it():
    reached = []

    @interruption.watched()
    def work():
        with interruption.held(), interruption.held():
            press()
            reached.append("inside")
        reached.append("behind")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["inside"]


def test_the_second_press_strikes_at_once():
    reached = []

    @interruption.held()
    def work():
        press()
        reached.append("first")
        press()
        reached.append("second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["first"]


def test_an_error_inside_is_not_replaced():
    @interruption.held()
    def work():
        press()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_another_thread_neither_holds_nor_is_stopped():
    went_on = []

    def beside():
        with interruption.held():
            interruption.check()
        went_on.append("the other thread")

    @interruption.held()
    def work():
        press()
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
        went_on.append(interruption.pressed())
        interruption.check()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert went_on == ["the other thread", True]


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruption.watched(), interruption.held():
        press()
        interruption.check()
        assert not interruption.pressed()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Stages -----------------------------------------------------------------------------------------------------------


def swallow():
    with contextlib.suppress(KeyboardInterrupt):
        press()


def turned_into_another_error():
    """As when C code imports a module, cannot, and says so in its own words."""
    try:
        press()
    except KeyboardInterrupt:
        raise ImportError("cannot import datetime") from None


def refused():
    raise DataError("no such folder")


@pytest.mark.parametrize(
    ("work", "code"),
    [(press, 130), (swallow, 130), (turned_into_another_error, 130), (refused, 1), (lambda: None, 0)],
)
def test_how_a_stage_ends(monkeypatch, caplog, work, code):
    monkeypatch.setattr(config, "load_params", lambda: None)
    assert stage.run_stage(lambda _: work()) == code
    assert ("interrupted" in caplog.text) == (code == 130)
    assert ("no such folder" in caplog.text) == (code == 1)


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(config, "load_params", lambda: None)
    with pytest.raises(ZeroDivisionError):
        stage.run_stage(lambda _: 1 / 0)


# Pools ------------------------------------------------------------------------------------------------------------

SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from multiprocessing.process import BaseProcess
from pneumoseg.shared.parallel import run_all
from tests.radiographs.dicom_files import lost, square

if __name__ == "__main__":
    begin, started = BaseProcess.start, []

    def start(self):
        begin(self)
        started.append(self)
        if len(started) == 2:
            signal.raise_signal(signal.SIGINT)

    BaseProcess.start = start
    try:
        print(len(run_all(square, range(1000), lost, 2, "")))
    except KeyboardInterrupt:
        print("interrupted", len(started), any(process.is_alive() for process in started))
"""


@pytest.mark.slow
def test_a_press_while_a_pool_starts_a_process(tmp_path):
    """A pool would not know the process that has just begun, and wait for ever for one that it does know."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "interrupted 2 False\n"
    assert "Traceback" not in done.stderr


def test_scripts_import_nothing_slow_before_ctrl_c_is_watched():
    """In the first moments of a stage Ctrl-C would end in a traceback of whatever is being imported."""
    code = (
        "import pathlib, runpy, sys\n"
        "for path in pathlib.Path('stages').glob('*.py'): runpy.run_path(str(path), run_name='imported')\n"
        "print(sorted({'pneumoseg.config', 'numpy', 'pandas', 'torch', 'pydantic', 'tqdm', 'dvc'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
