# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The background task of the service: advances the queue, writes events, and notifies clients that wait for them."""

from __future__ import annotations

import asyncio
import collections
import logging
import time
import typing as t

from anyio import to_thread

from ia_homelab_core.errors import CoreError

from .operations import Operations
from .schemas import Event

log = logging.getLogger("ia_homelab_service")

#: Seconds between two polls of the store: while a run is active, and otherwise.
_BUSY_SECONDS, _IDLE_SECONDS = 0.5, 2.0
#: Seconds without a heartbeat after which the watcher counts as stuck.
STUCK_SECONDS = 120.0


class Watcher:
    """Polls the job store (level-triggered), so runs are noticed no matter which process submitted them."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations
        self.heartbeat = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._poll_requested = asyncio.Event()
        self._change_events: dict[str, asyncio.Event] = {}
        #: Number of clients that wait for events, by run.
        self._waiters: collections.Counter[str] = collections.Counter()
        # runs whose journal has no end yet: a run may start and end between two polls
        self._open_runs: set[str] = set()

    def start(self) -> None:
        """Start the task on the running event loop."""
        event_loop = asyncio.get_running_loop()

        # events are written by this task and by requests: both notify waiting clients
        def notify(job_id: str) -> None:
            event_loop.call_soon_threadsafe(self._notify, job_id)

        def poll() -> None:
            event_loop.call_soon_threadsafe(self._poll_requested.set)

        self.operations.journal.listener = notify
        self.operations.on_queue_change = poll
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop the task."""
        self.operations.journal.listener = None
        self.operations.on_queue_change = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def stuck(self) -> bool:
        """Whether the last poll is too long ago."""
        return time.monotonic() - self.heartbeat > STUCK_SECONDS

    async def _run(self) -> None:
        self._open_runs |= set(await to_thread.run_sync(self._unfinished_journals))
        while True:
            active: set[str] = set()
            try:
                active = await to_thread.run_sync(self._active)
                self._open_runs |= active
                # a finished run may be submitted again and end again between two polls
                self._open_runs |= await to_thread.run_sync(self._resubmitted, set(self._waiters) - self._open_runs)
                inspected = set(self._open_runs)
                for job_id in await to_thread.run_sync(self._sync, inspected):
                    self._notify(job_id)
                self._open_runs -= await to_thread.run_sync(self._finished, inspected - active)
            except CoreError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("the watcher failed and continues")
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
        """Return recent runs that ended while the service was down: their journals lack the end."""
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
        """Return events after that id as soon as there are any, and an empty list after so many seconds.

        :raises NotFoundError: when there is no such run.
        """
        end = time.monotonic() + seconds
        self._waiters[job_id] += 1
        try:
            while True:
                changed = self._change_events.setdefault(job_id, asyncio.Event())
                events = await to_thread.run_sync(self.operations.journal.read, job_id, after)
                left = end - time.monotonic()
                if events or left <= 0:
                    return events
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
        """Yield events after that id until the run has ended, and None after ``heartbeat`` seconds without any."""
        while True:
            events = await self.wait_for_events(job_id, after, heartbeat)
            for event in events:
                after = event.id
                yield event
            if not events:
                yield None
            if events and events[-1].data.get("ended") and not await to_thread.run_sync(self._continues, job_id, after):
                return
            if not events and await to_thread.run_sync(self._is_finished, job_id, after):
                return

    def _continues(self, job_id: str, after: int) -> bool:
        return self.operations.journal.count(job_id) > after or not self.operations.get_job(job_id).ended

    def _is_finished(self, job_id: str, after: int) -> bool:
        """Whether a stream that starts after the last event has nothing to wait for."""
        return self.operations.get_job(job_id).ended and not self.operations.events(job_id, after, 1)
