"""The simulation's scheduler. Each task is a thread, but only one task runs at a time.

When the running task pauses, a random choice decides which task continues. The same seed leads to the same choices.
Time is simulated: it advances a little with every step, and jumps ahead when all tasks sleep.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from threading import Semaphore, Thread
from typing import Any

LONGEST_STEP_SECONDS = 0.02


class Killed(BaseException):
    """Ends a task where it is, as if its process were killed. ``except Exception`` does not catch it."""


class Task:
    """A concurrent task. It is ready when its sleep, or the task that it waits for, has ended."""

    def __init__(self, name: str, body: Callable[[], Any]) -> None:
        self.name = name
        self.body = body
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = self.died = self.doomed = False
        self.wakes_at = 0.0
        self.waits_for: Task | None = None
        self.turn = Semaphore(0)


class Scheduler:
    """Runs one ready task after another, in an order that depends only on the seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.current: Task | None = None
        self._tasks: list[Task] = []
        self._baton = Semaphore(0)
        self._failure: BaseException | None = None

    def spawn(self, name: str, body: Callable[[], Any]) -> Task:
        """Add a task. It begins when it is chosen."""
        task = Task(name, body)
        self._tasks.append(task)
        Thread(target=self._run, args=(task,), daemon=True).start()
        return task

    def pause(self, seconds: float = 0.0, *, until: Task | None = None) -> None:
        """Let other tasks run until ``seconds`` have passed or the task ``until`` has ended, whichever comes first."""
        task = self.current
        if task is None:  # called by the simulation itself, while no task runs
            self.now += seconds
            return
        task.wakes_at, task.waits_for = self.now + seconds, until
        self._baton.release()
        task.turn.acquire()
        if task.doomed:
            raise Killed

    def fail(self, error: BaseException) -> None:
        """Make `step` raise this error. If it were raised here, the simulated code could catch it."""
        self._failure = self._failure or error

    def step(self) -> bool:
        """Run one task to its next pause; return False if no task is left. Raises the error of a failed task."""
        if not self._tasks:
            return False
        if not (ready := self._ready()):
            self.now = min(task.wakes_at for task in self._tasks)
            assert self.now < inf, "deadlock: every task waits for another one"
            ready = self._ready()
        self.now += self.random.uniform(0, LONGEST_STEP_SECONDS)
        self._resume(self.random.choice(ready))
        if self._failure:
            raise self._failure
        return True

    def stop(self) -> None:
        """End all remaining tasks."""
        while self._tasks:
            self._tasks[0].doomed = True
            self._resume(self._tasks[0])

    def _ready(self) -> list[Task]:
        return [t for t in self._tasks if t.wakes_at <= self.now or (t.waits_for is not None and t.waits_for.done)]

    def _resume(self, task: Task) -> None:
        self.current = task
        task.turn.release()
        self._baton.acquire()
        self.current = None

    def _run(self, task: Task) -> None:
        task.turn.acquire()
        try:
            if not task.doomed:
                task.result = task.body()
        except Killed:
            task.died = True
        except BaseException as error:
            self.fail(error)
        task.done = True
        self._tasks.remove(task)
        self._baton.release()


class Pool:
    """A replacement for ``ThreadPoolExecutor`` that runs submitted work as tasks of the scheduler.

    The simulation fails if the work raises any error that is not of the type ``expected``.
    """

    def __init__(self, scheduler: Scheduler, expected: type[Exception]) -> None:
        self._scheduler = scheduler
        self._expected = expected

    def __call__(self, _workers: int) -> Pool:
        return self

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable[..., Any], *args: Any) -> Submitted:
        """Run ``function`` as a task. If no task is running, call it at once."""
        submitted = Submitted(self._scheduler)

        def body() -> None:
            try:
                submitted.value = function(*args)
            except Exception as error:
                submitted.error = error
                if not isinstance(error, self._expected):
                    self._scheduler.fail(error)

        if self._scheduler.current is None:
            body()
        else:
            submitted.task = self._scheduler.spawn(f"{self._scheduler.current.name}/item", body)
        return submitted


class Submitted:
    """A replacement for a ``Future``."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.task: Task | None = None
        self.value: Any = None
        self.error: Exception | None = None

    def result(self) -> Any:
        """Return the result once the task has ended. If the task was killed, the caller is killed too."""
        while self.task and not self.task.done:
            self._scheduler.pause(inf, until=self.task)
        if self.task and self.task.died:
            raise Killed
        if self.error:
            raise self.error
        return self.value
