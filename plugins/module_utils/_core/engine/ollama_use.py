# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The use of Ollama by a job or a module that must not lose it: no training stops or restarts it in the meantime."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ..artifacts.layout import Layout
from ..errors import CoreError, NotReadyError
from ..messages.message import Message
from ..ollama.client import Ollama
from .gpu_lease import ollama_stopped_for, release_stale
from .ollama_access import describe_holders, ollama_access

#: Seconds between two requests of a process that waits for Ollama.
POLL_SECONDS = 0.5

#: Seconds that a server which was just started again may take until it answers. After that the user gets its error.
_ANSWER_SECONDS = 60.0


class OllamaUse:
    """Shared access to Ollama.

    :param layout: the data directory.
    :param holder: name of the user, as :func:`ollama_access.holder_of` returns it for a job.
    :param url: address of the server.
    """

    def __init__(self, layout: Layout, holder: str, url: str) -> None:
        self._layout = layout
        self._url = url
        self._access = ollama_access(layout, holder)
        self._answer_deadline: float | None = None

    def request(self) -> Message | None:
        """Request the access.

        :returns: what has to end before it is granted; None when it is granted.
        :raises CoreError: when the queue for Ollama cannot be written.
        """
        holders = self._access.request()
        reason = self._reason(holders)
        if reason is not None:
            self._answer_deadline = time.monotonic() + _ANSWER_SECONDS
            return reason
        if self._answer_deadline is not None and time.monotonic() < self._answer_deadline:
            try:
                Ollama(self._url, timeout=2).version()
            except CoreError as error:
                return Message("engine.ollama_starting", problem=error.content)
        return None

    def _reason(self, holders: t.Sequence[str]) -> Message | None:
        stopped_for = ollama_stopped_for(self._layout, self._url)
        if stopped_for and not holders:
            release_stale(self._layout)  # no-op while the job of the lease has not ended
            stopped_for = ollama_stopped_for(self._layout, self._url)
        if stopped_for:
            return Message("engine.ollama_which_is_stopped", training=stopped_for)
        if holders:
            return Message("engine.ollama_changed_by", jobs=describe_holders(self._layout, holders))
        return None

    def release(self) -> None:
        """End the access."""
        self._access.release()

    @contextlib.contextmanager
    def waiting(self, seconds: float | None = None) -> t.Iterator[None]:
        """The context in which the access is held; waits for it before.

        :param seconds: how long to wait; None for as long as it takes.
        :raises NotReadyError: when it is not granted in this time.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            while True:
                reason = self.request()
                if reason is None:
                    break
                if deadline is not None and time.monotonic() >= deadline:
                    raise NotReadyError("engine.ollama_needed", reason=reason)
                time.sleep(POLL_SECONDS)
            yield
        finally:
            self.release()


@contextlib.contextmanager
def using_ollama(data_dir: str, purpose: str, url: str, seconds: float | None) -> t.Iterator[None]:
    """The context in which a process outside of the queue uses Ollama, without an interruption by a job.

    :param data_dir: the data directory whose jobs may stop Ollama; nothing is done if it has no store.
    :param purpose: what the process does, for the messages of waiting jobs: letters, digits and ``._-``.
    :param seconds: how long to wait for a training that has Ollama stopped; None for as long as it takes.
    :raises NotReadyError: when Ollama is not available in this time.
    """
    layout = Layout(data_dir)
    if not os.path.isdir(layout.jobs):
        yield
        return
    with OllamaUse(layout, f"{purpose}-{os.getpid()}", url).waiting(seconds):
        yield
