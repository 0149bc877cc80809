"""One function over many items, results in their order: by threads, by processes, or on a Dask cluster.

No more than a few items are under way, so memory does not grow with their number, and an error or Ctrl-C ends the work
with the items under way. Threads are enough where the work lets go of the interpreter's lock (OpenCV does); processes
outlive a decoder that crashes.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from pneumoseg.shared import interruption
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.progress_lines import follow

Item = TypeVar("Item")
Result = TypeVar("Result")
Indices = Sequence[int]

_CHUNK = 8  # 0.1 s of work for radiographs: little enough to stop quickly, enough to hide the hand-over
_CONNECT_SECONDS = 20
_POLL_SECONDS = 0.2  # how soon a Ctrl-C is seen


def available_cores() -> int:
    """Cores this process may use (fewer than the machine's in a container or under taskset)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_threads(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None, title: str, unit: str = "image"
) -> list[Result]:
    """Call a function for every item by threads, followed on stderr.

    Args:
        function: gives something small; what it raises ends the work within a few items.
        items: any.
        workers: threads; None one a core, 0 or 1 none beside the caller's. No result depends on it.
        title: of the bar.
        unit: what an item is, for the bar.
    """
    threads = max(1, available_cores() if workers is None else workers)
    batch = _CHUNK * threads
    results: list[Result] = []
    with follow(len(items), title, unit) as bar, ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), batch):
            some = items[start : start + batch]
            for result in pool.map(function, some) if threads > 1 else map(function, some):
                results.append(result)
                bar.update()
    return results


def run_all(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    crashed: Callable[[Item], Result],
    workers: int | None,
    title: str,
    scheduler: str | None = None,
    unit: str = "image",
) -> list[Result]:
    """Call a function for every item by processes, followed on stderr.

    Args:
        work: can be pickled; raises only what shall stop everything.
        items: can be pickled one by one.
        crashed: the result of an item on which a process died (a decoder's fault, or memory); the others go on.
        workers: processes; 0 none (in this one, which a crash ends), None one for each core.
        title: of the bar.
        scheduler: the address of a Dask cluster, which takes the place of ``workers``.
        unit: what an item is, for the bar.

    Raises:
        ParameterError: the cluster cannot be used.
    """
    found: dict[int, Result] = {}
    bar = follow(len(items), title, unit)
    with interruption.held(), bar, closing(as_done(work, items, crashed, workers, scheduler)) as results:
        for index, result in results:
            found[index] = result
            bar.update()
    return [found[index] for index in range(len(items))]


def check_scheduler(scheduler: str | None) -> None:
    """Connect once, if there is an address.

    Raises:
        ParameterError: Dask is not installed, nothing answers there, or the cluster has no workers.
    """
    if scheduler is not None:
        with _dask(scheduler):
            pass


def as_done(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    crashed: Callable[[Item], Result],
    workers: int | None,
    scheduler: str | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Yield (index, result) as run_all's are done, in any order."""
    if scheduler is not None:
        yield from _by_cluster(scheduler, work, items, crashed)
        return
    processes = min(available_cores() if workers is None else workers, -(-len(items) // _CHUNK))
    if processes == 0:
        with _one_thread():
            for index, item in enumerate(items):
                interruption.check()
                yield index, work(item)
        return
    left = list(range(len(items)))
    while left:
        suspects: list[int] = []
        done: set[int] = set()
        with _pool(processes, work) as executor:
            for chunk, future in _stream(executor, work, items, 2 * processes, left):
                if isinstance(future.exception(), BrokenProcessPool):
                    suspects += chunk  # everything under way fails alike: any of it may be to blame
                    continue
                done.update(chunk)
                yield from zip(chunk, future.result(), strict=True)
        alone = suspects if suspects or done else left[:_CHUNK]
        done.update(alone)
        yield from _one_by_one(work, items, crashed, alone)
        left = [index for index in left if index not in done]


def _by_cluster(
    scheduler: str, work: Callable[[Item], Result], items: Sequence[Item], crashed: Callable[[Item], Result]
) -> Iterator[tuple[int, Result]]:
    """The same on a cluster, which replaces dead workers itself and gives a chunk up after some of them."""
    with _dask(scheduler) as (executor, slots, killed):
        for chunk, future in _stream(executor, work, items, slots, range(len(items))):
            if not isinstance(future.exception(), killed):
                yield from zip(chunk, future.result(), strict=True)
                continue
            for index in chunk:
                single = executor.submit(work, items[index])
                _first_done([single])
                yield index, crashed(items[index]) if isinstance(single.exception(), killed) else single.result()


def _stream(
    executor: Executor, work: Callable[[Item], Result], items: Sequence[Item], window: int, indices: Indices
) -> Iterator[tuple[Indices, Future[list[Result]]]]:
    """Yield chunks with their futures as they are done, at most ``window`` under way; ends when the pool breaks."""
    chunks = iter([indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)])
    pending: dict[Future[list[Result]], Indices] = {}
    broken = False
    while True:
        try:
            for chunk in islice(chunks, 0 if broken else window - len(pending)):
                interruption.check()  # the first one waits until the server has imported everything
                pending[executor.submit(_run_chunk, work, [items[index] for index in chunk])] = chunk
        except BrokenProcessPool:
            broken = True  # the chunk just taken was never begun: it stays with what is left
        if not pending:
            return
        for future in _first_done(pending):
            broken = broken or isinstance(future.exception(), BrokenProcessPool)
            yield pending.pop(future), future


def _first_done(pending: Collection[Future[Any]]) -> set[Future[Any]]:
    """Wait until at least one is done; raises KeyboardInterrupt where interruption.held has kept one back."""
    while True:
        finished, _ = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        interruption.check()
        if finished:
            return finished


def _one_by_one(
    work: Callable[[Item], Result], items: Sequence[Item], crashed: Callable[[Item], Result], indices: Indices
) -> Iterator[tuple[int, Result]]:
    """Never two items under way, so that a second crash names the culprit."""
    left = list(indices)
    while left:
        with _pool(1, work) as executor:
            for index in left.copy():
                left.remove(index)
                try:
                    future = executor.submit(work, items[index])
                    _first_done([future])
                    yield index, future.result()
                except BrokenProcessPool:
                    yield index, crashed(items[index])
                    break


@contextmanager
def _dask(scheduler: str) -> Iterator[tuple[Executor, int, type[Exception]]]:
    """A Dask cluster's executor, how many chunks keep it busy, its error for a chunk that kills workers."""
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise ParameterError(
            f"extract.scheduler = {scheduler} needs Dask, which is not installed: pip install 'pneumoseg[dask]', "
            "or set extract.scheduler to null"
        ) from None
    try:
        client = distributed.Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"extract.scheduler = {scheduler}: no Dask scheduler answers there ({type(error).__name__}); start one, or "
            "set extract.scheduler to null"
        ) from error
    with closing(client):
        threads = sum(client.nthreads().values())
        if threads == 0:
            raise ParameterError(f"extract.scheduler = {scheduler}: this cluster has no workers; start some")
        executor = client.get_executor(pure=False)
        try:
            yield executor, 2 * threads, distributed.KilledWorker
        finally:
            executor.shutdown(wait=False)


@contextmanager
def _pool(processes: int, work: Callable[..., Any]) -> Iterator[Executor]:
    """A pool that ends with the items under way when the block is left by an error or by Ctrl-C."""
    function = work.func if isinstance(work, partial) else work
    context = _context(str(getattr(function, "__module__", type(function).__module__)))
    stop = context.RawValue(ctypes.c_bool, False)
    executor = ProcessPoolExecutor(processes, mp_context=context, initializer=_initialise, initargs=(stop,))
    try:
        yield executor
    finally:
        stop.value = True
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV works as in the processes of a pool: with more threads its blur of floats differs in the last bit."""
    cv2 = importlib.import_module("cv2")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


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


class _Stop:
    """In a child of a pool: a byte that it shares with its parent, without a lock that a killed child could keep."""

    flag: Any = None


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


def _run_chunk(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """All results, or less when the pool is being left: then nobody looks at them."""
    results: list[Result] = []
    for item in items:
        if _Stop.flag is not None and _Stop.flag.value:
            break
        results.append(work(item))
    return results
