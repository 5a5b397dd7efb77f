"""Work shared by the processes of one machine."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from videodit.config import check

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """`function` of each item, in the order in which they are done.

    `workers`: fresh processes, which end with this one however that ends; 0 is one a core; 1 works
    in this process. Function, items and results can be pickled. Raises ConfigError for less.
    """
    check(workers >= 0, "workers", workers, "at least 0")
    workers = min(workers or os.cpu_count(), len(items))
    if workers <= 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        try:
            for done in as_completed([pool.submit(function, item) for item in items]):
                yield done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
