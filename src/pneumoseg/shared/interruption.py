"""Ctrl-C that is never lost and never strikes in the midst of a hand-over to other processes.

Python raises KeyboardInterrupt wherever the main thread happens to be. In a finaliser or a weak reference's callback it
is printed and dropped; in C code of a package that is being imported it can turn into another error; while a pool
starts a process, the pool no longer knows that process and waits for it for ever. So each Ctrl-C is remembered here.

A process that was started with SIGINT ignored (by a shell that starts a job in the background) goes on ignoring it.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_REPEAT_SECONDS = 0.1  # by then Python has left the callback that dropped it


class _State:
    presses = 0
    held = False


def _press(_signal: int, _frame: FrameType | None) -> None:
    _State.presses += 1
    if _State.presses > 1 or not _State.held:
        raise KeyboardInterrupt


@contextmanager
def watched() -> Iterator[None]:
    """Within the block Ctrl-C is remembered, and raised again where Python drops it; in the main thread only."""
    if not _in_main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    told = sys.unraisablehook

    def repeat(dropped: sys.UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            told(dropped)
        else:
            threading.Timer(_REPEAT_SECONDS, _interrupt_again).start()

    _State.presses = 0
    sys.unraisablehook = repeat
    signal.signal(signal.SIGINT, _press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = told
        _State.presses = 0


def _interrupt_again() -> None:
    """Wakes the main thread where it waits, as a signal of the kernel does; nothing where the work has ended by now."""
    main = threading.main_thread().ident
    if main is not None and signal.getsignal(signal.SIGINT) is _press:
        signal.pthread_kill(main, signal.SIGINT)


@contextmanager
def held() -> Iterator[None]:
    """Within the block the first Ctrl-C waits for ``check`` or the block's end; the second strikes at once."""
    with watched():
        mine = _in_main_thread() and signal.getsignal(signal.SIGINT) is _press and not _State.held
        _State.held = _State.held or mine
        try:
            yield
        finally:
            if mine:
                _State.held = False
        check()


def pressed() -> bool:
    """Tell whether Ctrl-C has come since ``watched`` began."""
    return _State.presses > 0


def check() -> None:
    """Raise KeyboardInterrupt if Ctrl-C has come; call it where work may stop. Outside the main thread: nothing."""
    if _in_main_thread() and _State.presses:
        raise KeyboardInterrupt


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
