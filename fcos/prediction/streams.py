"""Parts of a batch side by side on a CPU, each with threads of its own: those of one layer wait for each other."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

# Pixels of the canvases of a part, or of its only one: with fewer, Python's part of the time grows; with more, the
# activations leave the caches, and are taken from and given back to the system anew for each layer.
PART_PIXELS: Final = 640 * 480


class Streams:
    """Calls a function on the parts of a list side by side, with torch's threads divided among them.

    In all there are as many threads as torch has in the thread that calls.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0

    def map(
        self, function: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item], pixels: int
    ) -> list[Result]:
        """Return the results of all items, in their order; `pixels` are those of each.

        The first error of a part is raised once all parts have ended. An interrupt leaves those that run.
        """
        threads = torch.get_num_threads()
        streams = min(threads, len(items))
        size = max(1, min(PART_PIXELS // pixels, -(-len(items) // streams)))
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        if streams == 1:
            return [result for part in parts for result in function(part)]

        def call(part: Sequence[Item]) -> Sequence[Result]:
            # Of this thread alone, but also what threads that begin later take over.
            torch.set_num_threads(threads // streams)
            return function(part)

        futures: list[Future[Sequence[Result]]] = []
        try:
            futures += [self._threads(streams).submit(call, part) for part in parts]
            wait(futures)
        finally:
            for future in futures:
                future.cancel()
            torch.set_num_threads(threads)
        return [result for future in futures for result in future.result()]

    def _threads(self, count: int) -> ThreadPoolExecutor:
        if self._pool is None or self._size != count:
            if self._pool is not None:
                self._pool.shutdown(wait=False)
            self._pool, self._size = ThreadPoolExecutor(count, thread_name_prefix="detect"), count
        return self._pool
