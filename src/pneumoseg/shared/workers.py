"""One function over many items: in this process, in a pool of processes, or on a Dask cluster.

Results come one by one and no more than a few chunks are under way, so memory does not grow with the number of items.
Which result belongs to which item is kept; their order of arrival means nothing. Within ``interruption.held`` Ctrl-C
stops everything as soon as the items under way are done.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from pneumoseg.shared import interruption
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.pool import one_thread, open_pool, run_chunk

Item = TypeVar("Item")
Result = TypeVar("Result")
Indices = Sequence[int]

_CHUNK = 8  # 0.1 s of work for radiographs: little enough to stop quickly, enough to hide the hand-over
_CONNECT_SECONDS = 20
_POLL_SECONDS = 0.2  # how soon a Ctrl-C is seen


def available_cores() -> int:
    """Cores this process may use (fewer than the machine's in a container or under taskset)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_scheduler(scheduler: str | None) -> None:
    """Connect once, if there is an address.

    Raises:
        ParameterError: Dask is not installed, nothing answers there, or the cluster has no workers.
    """
    if scheduler is not None:
        with _dask(scheduler):
            pass


def run_all(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    crashed: Callable[[Item], Result],
    workers: int | None,
    scheduler: str | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Yield (index, result) for every item, in any order.

    Args:
        work: can be pickled; raises only what shall stop everything.
        items: can be pickled one by one.
        crashed: the result of an item on which a process died (a decoder's fault, or memory); the others go on.
        workers: processes; 0 none (in this one, which a crash ends), None one for each core.
        scheduler: the address of a Dask cluster, which takes the place of ``workers``.

    Raises:
        ParameterError: the cluster cannot be used.
    """
    if scheduler is not None:
        with _dask(scheduler) as (executor, slots, killed):
            yield from _gather(executor, slots, killed, work, items, crashed)
        return
    processes = min(available_cores() if workers is None else workers, -(-len(items) // _CHUNK))
    if processes == 0:
        with one_thread():
            for index, item in enumerate(items):
                interruption.check()
                yield index, work(item)
        return
    left = list(range(len(items)))
    while left:
        suspects: list[int] = []
        done: set[int] = set()
        with open_pool(processes, work) as executor:
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


def _gather(
    executor: Executor,
    slots: int,
    killed: type[Exception],
    work: Callable[[Item], Result],
    items: Sequence[Item],
    crashed: Callable[[Item], Result],
) -> Iterator[tuple[int, Result]]:
    """The same on a cluster, which replaces dead workers itself and gives a chunk up after some of them."""
    for chunk, future in _stream(executor, work, items, slots, range(len(items))):
        if not isinstance(future.exception(), killed):
            yield from zip(chunk, future.result(), strict=True)
            continue
        for index in chunk:
            single = executor.submit(run_chunk, work, [items[index]])
            _first_done([single])
            yield index, crashed(items[index]) if isinstance(single.exception(), killed) else single.result()[0]


def _stream(
    executor: Executor,
    work: Callable[[Item], Result],
    items: Sequence[Item],
    window: int,
    indices: Indices,
) -> Iterator[tuple[Indices, Future[list[Result]]]]:
    """Yield chunks with their futures as they are done, at most ``window`` under way; ends when the pool breaks."""
    chunks = iter([indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)])
    pending: dict[Future[list[Result]], Indices] = {}
    broken = False
    while True:
        try:
            for chunk in islice(chunks, 0 if broken else window - len(pending)):
                interruption.check()  # the first one waits until the server has imported everything
                pending[executor.submit(run_chunk, work, [items[index] for index in chunk])] = chunk
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
        with open_pool(1, work) as executor:
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
    try:
        threads = sum(client.nthreads().values())
        if threads == 0:
            raise ParameterError(f"extract.scheduler = {scheduler}: this cluster has no workers; start some")
        executor = client.get_executor(pure=False)
        try:
            yield executor, 2 * threads, distributed.KilledWorker
        finally:
            executor.shutdown(wait=False)
    finally:
        client.close()
