"""One function over many items: in order, a few at a time, whatever the workers; a crash costs one item."""

import threading

import pytest

from pneumoseg.shared.parallel import as_done, map_threads, run_all
from tests.radiographs.dicom_files import lost, square


@pytest.mark.parametrize("workers", [0, 1, 3, None])
def test_threads_give_results_in_order(workers):
    assert map_threads(square, range(100), workers, "") == [number**2 for number in range(100)]
    assert map_threads(square, [], workers, "") == []


def test_no_worker_means_the_callers_own_thread():
    assert map_threads(lambda _: threading.current_thread(), [0], 0, "") == [threading.current_thread()]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_thread_ends_the_work_within_a_batch(workers):
    seen = []

    def work(number):
        seen.append(number)
        if number == 3:
            raise ZeroDivisionError
        return number

    with pytest.raises(ZeroDivisionError):
        map_threads(work, range(1000), workers, "")
    assert max(seen) < 2 * 8


@pytest.mark.slow
def test_a_crash_costs_only_the_file_that_caused_it():
    numbers = [*range(20), -1, *range(20, 40), -2]
    assert run_all(square, numbers, lost, 2, "") == [-1 if number < 0 else number * number for number in numbers]


def test_only_a_few_chunks_are_under_way():
    taken = []

    class Items(list):
        def __getitem__(self, index):
            taken.append(index)
            return super().__getitem__(index)

    results = as_done(square, Items(range(1000)), lost, workers=1)
    first = next(results)
    assert first[1] == first[0] ** 2
    assert len(taken) <= 4 * 8
    assert dict([first, *results]) == {number: number**2 for number in range(1000)}
