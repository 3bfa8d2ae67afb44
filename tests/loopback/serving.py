"""An event loop in a thread of its own, with what it has seen, for tests to wait upon."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

HANG_SECONDS = 60.0

T = TypeVar("T")


class Gate:
    """Shut until a test opens it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def passed(self) -> None:
        await self._event.wait()


class Server:
    """Serves from `__enter__` to `__exit__`. Subclasses open and close what they serve on."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.changed = threading.Condition()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.call(self._open())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.call(self._close())
        self.call(self._cancel_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        raise NotImplementedError

    async def _close(self) -> None:
        raise NotImplementedError

    async def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what they closed is closed in the loop's next turn

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs it in the server's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(HANG_SECONDS)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs it there, until it ends or the server does."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def gate(self) -> Gate:
        return Gate(self._loop)

    def notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def wait_for(
        self, what: str, predicate: Callable[[], bool], seconds: float = HANG_SECONDS
    ) -> None:
        """Waits until the predicate holds, which is tried whenever something has happened."""
        with self.changed:
            if not self.changed.wait_for(predicate, seconds):
                raise AssertionError(f"{what}: not within {seconds:g} s")
