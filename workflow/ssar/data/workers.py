"""Work on videos in parallel processes: results in order, failures by the video's name, never a hang."""

from __future__ import annotations

import atexit
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from torch.utils.data import DataLoader, Dataset, get_worker_info

from ssar.data.arena import Receiver, Sender, Slots
from ssar.data.processes import begin, context, deaf, end, serve
from ssar.data.watchdog import Board, Watch, guarded
from ssar.errors import UserError

NOTICED_SECONDS = 3.0
"""Within these the system tells that a process has died."""


class OfVideo(Protocol):
    """An item of work that belongs to a video."""

    @property
    def video(self) -> str: ...


Item = TypeVar("Item", bound=OfVideo)
Result = TypeVar("Result")


class _Failure(NamedTuple):
    message: str


class _Work(Dataset, Generic[Item, Result]):
    """What a worker does with an item: note the video on the board, work, hand a user's error back as a value."""

    def __init__(self, work: Callable[[Item], Result], board: Board, slots: Slots) -> None:
        self.work, self.board, self.slots = work, board, slots
        self.sender: Sender | None = None

    def __getitem__(self, item: Item) -> Any:
        worker = get_worker_info()
        assert worker is not None
        number = worker.id
        self.sender = self.sender or Sender(self.slots, number)
        return self.sender.pack(_attempt(self.work, item, self.board, number))


def _attempt(work: Callable[[Item], Result], item: Item, board: Board, row: int) -> Result | _Failure:
    board.start(row, item.video)
    try:
        return work(item)
    except UserError as error:
        return _Failure(str(error))
    finally:
        board.finish(row)


class _Order(Generic[Item]):
    """Hands items to the workers and remembers them until their results come back."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = items
        self.waiting: deque[Item] = deque()

    def __iter__(self) -> Iterator[Item]:
        for item in self.items:
            self.waiting.append(item)
            yield item


def _as_is(value: Any) -> Any:
    return value


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    seconds: float,
    ahead: int = 0,
    pin_memory: bool = False,
) -> Generator[tuple[Item, Result]]:
    """Yield ``(item, work(item))`` in the order of the items, computed by `workers` processes (0: by this one).

    `work` and the items must pickle. A result may be a tensor or a NamedTuple with some: they travel through shared
    memory, and arrive page-locked with `pin_memory` and workers. At least `ahead` items are in the works at any time,
    so that whoever consumes the results need not wait.

    Raises UserError, naming the video, when `work` raises one, when a process dies, and when one is silent for more
    than `seconds` (see `ssar.data.watchdog.beat`). With no workers a hang is named on stderr and ends the process.
    """
    board = Board(max(workers, 1))
    if not workers:
        with guarded(board, seconds):
            for item in items:
                yield item, _checked(_attempt(work, item, board, 0))
        return
    prefetch = max(2, -(-ahead // workers))
    slots = Slots(workers, 2 * (prefetch + 1))  # enough for results with two tensors, as clips have
    receiver = Receiver(slots, pin_memory)
    order = _Order(items)
    loader = DataLoader(
        _Work(work, board, slots),
        batch_size=None,
        sampler=order,
        num_workers=workers,
        collate_fn=_as_is,
        prefetch_factor=prefetch,
        worker_init_fn=partial(begin, board),
        multiprocessing_context=context(work),
    )
    watch = Watch(board, seconds)
    watch.start()
    stop = partial(end, board)
    atexit.register(stop)
    try:
        with deaf():
            serve()
            results = iter(loader)
        while True:
            try:
                result = next(results)
            except StopIteration:
                return
            # a process that dies while it hands over a tensor breaks the connection before torch knows that it is dead
            except (RuntimeError, OSError, EOFError) as error:
                raise UserError(watch.verdict or _death(board, error)) from error
            yield order.waiting.popleft(), _checked(receiver.unpack(result))
    finally:
        watch.stop()
        stop()
        atexit.unregister(stop)


def _checked(result: Result | _Failure) -> Result:
    if isinstance(result, _Failure):
        raise UserError(result.message)
    return result


def _death(board: Board, error: Exception) -> str:
    """A message for a worker that died. Any other error is a bug, and is raised again as it is."""
    told = str(error).startswith("DataLoader worker (pid")
    dead = _dead(board, seconds=0.0 if told else NOTICED_SECONDS)
    if not dead and not told:
        raise error
    video = next((entry.video for entry in board.busy() if entry.pid in dead), None)
    place = "between two videos" if video is None else f"while reading {video}"
    return (
        f"a decoding process died {place}: {error}. Usual causes: no memory or shared memory left (fewer "
        f"`runtime.workers`, a larger /dev/shm) or a video that crashes the decoder"
    )


def _dead(board: Board, seconds: float) -> set[int]:
    """The workers that have died, or do so within some seconds."""
    last = time.monotonic() + seconds
    while True:
        dead = set(board.pids) - {process.pid for process in multiprocessing.active_children()}
        if dead or time.monotonic() >= last:
            return dead
        time.sleep(0.05)
