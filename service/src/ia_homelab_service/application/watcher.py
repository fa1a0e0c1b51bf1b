# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's own loop: keeps the queue moving, writes down what happens, wakes those who wait for it."""

from __future__ import annotations

import asyncio
import collections
import logging
import time
import typing as t

from anyio import to_thread

from ia_homelab_core._errors import CoreError

from .operations import Operations
from .schemas import Event

log = logging.getLogger("ia_homelab_service")

#: Seconds between two looks at the store: while something is at work, and while nothing is.
_BUSY_SECONDS, _IDLE_SECONDS = 0.5, 2.0
#: Not heard of for so long, the loop is taken for stuck.
STUCK_SECONDS = 120.0


class Watcher:
    """Level-triggered: looks at the store again and again, so that whoever asks for something, by whatever way, is
    served, and nothing has to be told to it."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations
        self.heartbeat = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._poll_requested = asyncio.Event()
        self._change_events: dict[str, asyncio.Event] = {}
        #: Runs that somebody waits for, and how many do.
        self._waiters: collections.Counter[str] = collections.Counter()
        # runs whose journal does not tell an end yet: one may begin and end between two looks at what is active
        self._open_runs: set[str] = set()

    def start(self) -> None:
        """Begin, on the running event loop."""
        event_loop = asyncio.get_running_loop()

        # whoever writes an event down, this loop or a request, wakes those who wait for it
        def notify(job_id: str) -> None:
            event_loop.call_soon_threadsafe(self._notify, job_id)

        self.operations.journal.listener = notify
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End."""
        self.operations.journal.listener = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def stuck(self) -> bool:
        """Whether it has not come round for long."""
        return time.monotonic() - self.heartbeat > STUCK_SECONDS

    def poll_now(self) -> None:
        """Look at once."""
        self._poll_requested.set()

    async def _run(self) -> None:
        self._open_runs |= set(await to_thread.run_sync(self._unfinished_journals))
        while True:
            active: set[str] = set()
            try:
                active = await to_thread.run_sync(self._active)
                self._open_runs |= active
                # one that has ended may be asked for again, and end again, between two looks at what is active
                self._open_runs |= await to_thread.run_sync(self._resubmitted, set(self._waiters) - self._open_runs)
                inspected = set(self._open_runs)
                for job_id in await to_thread.run_sync(self._sync, inspected):
                    self._notify(job_id)
                self._open_runs -= await to_thread.run_sync(self._finished, inspected - active)
            except CoreError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("the loop failed at something and goes on")
            self.heartbeat = time.monotonic()
            self._poll_requested.clear()
            try:
                await asyncio.wait_for(
                    self._poll_requested.wait(), _BUSY_SECONDS if self._open_runs or self._waiters else _IDLE_SECONDS
                )
            except asyncio.TimeoutError:
                pass

    def _active(self) -> set[str]:
        return {record.id for record in self.operations.engine.store.active()}

    def _resubmitted(self, ids: t.Iterable[str]) -> set[str]:
        journal = self.operations.journal
        return {job_id for job_id in ids if not journal.is_current(job_id)}

    def _unfinished_journals(self) -> list[str]:
        """Runs that ended while nobody looked: the latest ones whose journal does not tell so."""
        operations = self.operations
        return [
            job_id
            for job_id in operations.engine.store.done_ids(100)
            if operations.journal.exists(job_id) and not operations.journal.ended(job_id)
        ]

    def _finished(self, ids: t.Iterable[str]) -> set[str]:
        journal, store = self.operations.journal, self.operations.engine.store
        return {job_id for job_id in ids if journal.ended(job_id) or store.record(job_id) is None}

    def _sync(self, ids: t.Iterable[str]) -> list[str]:
        changed = self.operations.reconcile()
        for job_id in ids:
            try:
                if self.operations.journal.sync(job_id):
                    changed.append(job_id)
            except CoreError as error:
                log.warning("%s: %s", job_id, error)
        for job_id in changed:
            self.operations.jobs.invalidate(job_id)
        return list(dict.fromkeys(changed))

    def _notify(self, job_id: str) -> None:
        self._open_runs.add(job_id)
        event = self._change_events.pop(job_id, None)
        if event is not None:
            event.set()

    # -- following -------------------------------------------------------------------------------------------------

    async def wait_for_events(self, job_id: str, after: int, seconds: float) -> list[Event]:
        """Events after that id, as soon as there are any; none when there were none for so long.

        :raises NotFoundError: when there is no such run.
        """
        end = time.monotonic() + seconds
        self._waiters[job_id] += 1
        try:
            while True:
                changed = self._change_events.setdefault(job_id, asyncio.Event())
                found = await to_thread.run_sync(self.operations.journal.read, job_id, after)
                left = end - time.monotonic()
                if found or left <= 0:
                    return found
                try:
                    await asyncio.wait_for(changed.wait(), left)
                except asyncio.TimeoutError:
                    return []
        finally:
            self._waiters[job_id] -= 1
            if not self._waiters[job_id]:
                del self._waiters[job_id]
                self._change_events.pop(job_id, None)

    async def follow(self, job_id: str, after: int = 0, heartbeat: float = 15.0) -> t.AsyncIterator[Event | None]:
        """Events after that id until the run has ended; None where nothing happened for ``beat`` seconds."""
        while True:
            found = await self.wait_for_events(job_id, after, heartbeat)
            for event in found:
                after = event.id
                yield event
            if not found:
                yield None
            if found and found[-1].data.get("ended") and not await to_thread.run_sync(self._continues, job_id, after):
                return
            if not found and await to_thread.run_sync(self._is_finished, job_id, after):
                return

    def _continues(self, job_id: str, after: int) -> bool:
        return bool(self.operations.journal.read(job_id, after)) or not self.operations.get_job(job_id).ended

    def _is_finished(self, job_id: str, after: int) -> bool:
        """Whether a stream that begins after the last event has nothing to wait for."""
        return self.operations.get_job(job_id).ended and not self.operations.events(job_id, after)
