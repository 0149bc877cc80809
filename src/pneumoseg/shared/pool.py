"""A pool of processes that Ctrl-C ends within one item, and what its children do."""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def open_pool(processes: int, work: Callable[..., Any]) -> Iterator[Executor]:
    """A pool that ends with the items under way when the block is left by an error or by Ctrl-C."""
    context = _context(_module(work))
    stop = context.RawValue(ctypes.c_bool, False)
    executor = ProcessPoolExecutor(processes, mp_context=context, initializer=_initialise, initargs=(stop,))
    try:
        yield executor
    finally:
        stop.value = True
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV works as in the processes of a pool: with more threads its blur of floats differs in the last bit."""
    cv2 = importlib.import_module("cv2")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _module(work: Callable[..., Any]) -> str:
    function = work.func if isinstance(work, partial) else work
    return str(getattr(function, "__module__", type(function).__module__))


def _context(module: str) -> BaseContext:
    """Children forked from a clean server that has imported a module once: fast as fork, without its dangers.

    A fork of this process would copy the threads' locks of OpenCV and tqdm; spawn imports everything in every child.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    # The server and its children inherit the mask: Ctrl-C is the parent's to handle from the moment of their birth.
    resource_tracker.ensure_running()  # first, since its start unblocks SIGINT
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    return context


def _initialise(stop: Any) -> None:
    """In a child: Ctrl-C is the parent's to handle, one thread is enough, and without its parent it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Stop.flag = stop
    importlib.import_module("cv2").setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """Workers of a killed parent would wait for work for ever."""
    parent.join()
    os._exit(1)


class _Stop:
    """In a child of a pool: a byte that it shares with its parent, without a lock that a killed child could keep."""

    flag: Any = None


def run_chunk(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """All results, or less when the pool is being left: then nobody looks at them."""
    results: list[Result] = []
    for item in items:
        if _Stop.flag is not None and _Stop.flag.value:
            break
        results.append(work(item))
    return results
