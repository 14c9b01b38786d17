"""Keeps data when the local AWS is stopped, killed or restarted. Runs inside MiniStack: see `emulator_launcher.py`.

The local AWS is MiniStack. The version that we pin has four faults, which this module mends:

- It saves only on SIGTERM. Here, changes are saved every few seconds, but not during a deployment.
- It writes one file for each service, so a kill between two files leaves an inconsistent save. Here, a save is a folder
  that appears whole or not at all.
- It saves how many records of a table's stream each trigger has read, but not the records. After a restart, a trigger
  skips that many new records. Here, a save also has the records that a trigger has not read, and no trigger skips any.
- It copies all data and writes the copy with a slow encoder. With half a million items, requests wait for half a
  minute. Here, the data are written without a copy, and on Linux by a forked process, so that no request waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from ministack import app
from ministack.core import persistence
from ministack.services import cloudformation, lambda_svc

from local import emulator_streams
from local.saving import pause_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

type Services = dict[str, Callable[[], Any]]
"""For each service, the function that returns its state, by the name of the service's file."""
type Send = Callable[[dict[str, Any]], Awaitable[None]]

SIGNATURES = {
    app._build_persistence_save_dict: "()",
    app.app: "(scope, receive, send)",
    persistence.save_all: "(services: dict) -> None",
    persistence.save_state: "(service: str, data: dict) -> None",
    persistence.load_state: "(service: str) -> dict | None",
    lambda_svc._prune_orphan_code_blobs: "(referenced: set[str]) -> None",
    **emulator_streams.SIGNATURES,
}

SAVE_PATH = "/_accounting/save"
"""A POST to this path saves at once; the answer comes when the save is done."""
ATTEMPTS = 5
FORKED_SAVE_SECONDS = 120
"""A process that needs longer to write a save is killed, and the save counts as failed."""
SAVE_NICENESS = 5
"""The nice value of the process that writes a save, so that requests come first."""
READS = ("Get", "Describe", "List", "Filter", "Query", "Scan", "BatchGet", "TransactGet")
EXECUTE_API = "/_aws/execute-api/"

logger = logging.getLogger("state")


def save_reliably() -> None:
    """Make MiniStack save its data as this module describes, unless it is set to save nothing."""
    if not persistence.PERSIST_STATE:
        return
    persistence.logger.setLevel(logging.WARNING)  # otherwise every save would log each of its files
    emulator_streams.keep_unread_records()
    write_quickly()
    saves = Saves(Path(persistence.STATE_DIR))
    app.save_all = saves.save
    save_while_serving(saves)


class Saves:
    """The folder `saves`. Each complete save is a folder in it, named by a number. The newest has the highest number.

    The name of an unfinished save is not a number, so that it is never loaded.
    """

    def __init__(self, state: Path) -> None:
        self.pause_seconds = pause_after(0)
        self._state, self._folder = state, state / "saves"
        self._save_all = persistence.save_all
        self._prune_blobs = lambda_svc._prune_orphan_code_blobs
        self._referenced: set[str] = set()
        self._one_at_a_time = asyncio.Lock()
        self._writer = 0
        # MiniStack would remove code that its Lambda functions no longer use. The save on disk may still need it.
        lambda_svc._prune_orphan_code_blobs = self._remember_blobs
        persistence.STATE_DIR = str(self._newest())

    def save(self, services: Services) -> bool:
        """Save all services or none; return whether they were saved. Requests wait meanwhile."""
        if self._writer:  # a forked process is saving older data
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._writer, signal.SIGKILL)
                os.waitpid(self._writer, 0)
        if deploying():
            logger.info("Not saved: a stack is being deployed")
            return False
        began = time.monotonic()
        done = any(self._attempt(services) for _ in range(ATTEMPTS))
        self._finish(done, began)
        if done:
            self._prune_blobs(self._referenced)
        return done

    async def save_aside(self, services: Services) -> bool:
        """Save as `save` does. On Linux, a forked process writes the data as they are at the fork."""
        if sys.platform != "linux":
            return self.save(services)
        async with self._one_at_a_time:
            if deploying():
                logger.info("Not saved: a stack is being deployed")
                return False
            began = time.monotonic()
            self._writer = os.fork()
            if self._writer == 0:
                self._write_and_end(services)
            try:
                _, status = await asyncio.to_thread(os.waitpid, self._writer, 0)
            except ChildProcessError:  # `save` has ended that process
                return False
            finally:
                self._writer = 0
            persistence.STATE_DIR = str(self._newest())
            self._finish(status == 0, began)
            return status == 0

    def _write_and_end(self, services: Services) -> NoReturn:
        """Save in the forked process.

        Unlike `save`, this removes no code of Lambda functions. Code that seems unused to this process may belong to a
        deployment that began after the fork.
        """
        done = False
        try:
            gc.disable()  # a garbage collection would write to all of the memory that the two processes share
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            signal.alarm(FORKED_SAVE_SECONDS)
            os.nice(SAVE_NICENESS)
            done = any(self._attempt(services) for _ in range(ATTEMPTS))
        finally:
            os._exit(0 if done else 1)

    def _finish(self, done: bool, began: float) -> None:
        """Set the pause until the next save, and log a failure."""
        self.pause_seconds = pause_after(time.monotonic() - began)
        if not done:
            logger.error("The state could not be saved; the last complete save still counts")

    def _attempt(self, services: Services) -> bool:
        """Try to save once; return whether it worked. A save fails if a background thread changes the state."""
        before = self._newest()
        number = int(before.name) + 1 if before != self._state else 1
        unfinished = self._folder / f"{number}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        without_state: set[str] = set()

        def recording_absence(name: str, get_state: Callable[[], Any]) -> Callable[[], Any]:
            def get() -> Any:
                state = get_state()
                if state is None:
                    without_state.add(name)
                return state

            return get

        persistence.STATE_DIR = str(unfinished)
        try:
            self._save_all({name: recording_absence(name, get_state) for name, get_state in services.items()})
        finally:
            persistence.STATE_DIR = str(before)
        written = {file.stem for file in unfinished.glob("*.json")}
        if services.keys() - without_state - written:
            shutil.rmtree(unfinished)
            return False
        for file in before.glob("*.json"):  # the files of services that were not used since the start
            if file.stem not in written:
                shutil.copy2(file, unfinished / file.name)
        newest = self._folder / str(number)
        unfinished.rename(newest)
        persistence.STATE_DIR = str(newest)
        self._remove_all_but(newest)
        return True

    def _newest(self) -> Path:
        """Return the newest save. If there is none, return the state's own folder, where older launchers saved."""
        numbers = [int(folder.name) for folder in self._folder.glob("*") if folder.name.isdecimal()]
        return self._folder / str(max(numbers)) if numbers else self._state

    def _remove_all_but(self, newest: Path) -> None:
        for folder in self._folder.iterdir():
            if folder != newest:
                shutil.rmtree(folder, ignore_errors=True)
        for file in self._state.glob("*.json"):  # the files of older launchers
            file.unlink()
        shutil.rmtree(self._state / "s3", ignore_errors=True)

    def _remember_blobs(self, referenced: set[str]) -> None:
        self._referenced = referenced


def save_while_serving(saves: Saves) -> None:
    """Save on request, and every few seconds while there are changes."""
    application = app.app
    changed = asyncio.Event()

    async def save() -> bool:
        # Changes from here on are not in this save.
        changed.clear()
        done = await saves.save_aside(app._build_persistence_save_dict())
        if not done:
            changed.set()
        return done

    async def save_regularly() -> None:
        while True:
            await asyncio.sleep(saves.pause_seconds)
            await changed.wait()
            await save()

    async def serve(scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":  # this call lasts as long as the server runs
            regularly = asyncio.create_task(save_regularly())
            await application(scope, receive, send)
            regularly.cancel()
        elif scope["type"] == "http" and (scope["method"], scope["path"]) == ("POST", SAVE_PATH):
            await send({"type": "http.response.start", "status": 204 if await save() else 500, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await application(scope, receive, send)
            if scope["type"] == "http" and may_change_something(scope):
                changed.set()

    app.app = serve


def deploying() -> bool:
    """Return whether a stack is being created or changed.

    Nothing is saved then, because the next start could not continue with half a stack.
    """
    statuses = {stack["StackStatus"] for stack in cloudformation._stacks.all_values()}
    # A stack in review has a change set and nothing else yet.
    return any(status.endswith("_IN_PROGRESS") for status in statuses - {"REVIEW_IN_PROGRESS"})


def may_change_something(scope: dict[str, Any]) -> bool:
    """Return whether a request may have changed the state.

    A call of a deployed API does not count. The called Lambda function changes data by requests of its own, which are
    checked here, too.
    """
    if scope["method"] in ("GET", "HEAD", "OPTIONS") or scope["path"].startswith(EXECUTE_API):
        return False
    target = dict(scope["headers"]).get(b"x-amz-target", b"").decode("latin-1")
    return not target.rpartition(".")[2].startswith(READS)


class QuickJson:
    """Replaces the module `json` where saves are written, because `json.dump` is slower than `json.dumps`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(json, name)

    @staticmethod
    def dump(data: Any, file: TextIO, **options: Any) -> None:
        file.write(json.dumps(data, **options))


def write_quickly() -> None:
    persistence.json = QuickJson()
