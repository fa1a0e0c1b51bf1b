# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of a runner, which runs the command of a job. ``runners.registry.get_runner`` lists the runners."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os

from ..system.clock import utc_now
from ..system.files import append_json_line
from .command import Command


def job_marker(job_dir: str) -> str:
    """Return the environment marker of a job's processes.

    It is unique to the job and does not change when the run moves within the store.
    """
    run_dir, job = os.path.split(os.path.abspath(job_dir))
    store = os.path.realpath(os.path.dirname(os.path.dirname(run_dir)))
    return f"{store}:{os.path.basename(run_dir)}/{job}"


def record_signal(job_dir: str, number: int) -> None:
    """Record a signal sent to a job, for human readers. Ignores write errors: a full disk must not prevent a stop."""
    with contextlib.suppress(OSError):
        append_json_line(os.path.join(job_dir, "signals.jsonl"), {"signal": number, "at": utc_now()})


@dataclasses.dataclass(frozen=True)
class Probe:
    """The observed state of a job's command.

    :param state: ``absent`` (never started), ``running`` or ``ended``.
    :param exit_code: exit status; negative for a signal; None while it runs or when its end was not observed.
    :param out_of_memory: whether the command failed, and the kernel or the engine killed a process for lack of memory
        while it ran.
    """

    state: str
    exit_code: int | None = None
    out_of_memory: bool = False


class Runner(abc.ABC):
    """Starts, observes and ends the single command of a job.

    All state is in the job's directory and in the kernel (or the Docker engine), so any process may use a runner.
    """

    name: str

    @abc.abstractmethod
    def start(self, command: Command, job_dir: str) -> None:
        """Start the command with its output appended to ``log.txt`` of the job.

        Its identity is recorded before its first instruction runs.

        :raises NotReadyError: when it cannot be started.
        """

    @abc.abstractmethod
    def probe(self, job_dir: str) -> Probe:
        """Return the state of the command. Read-only."""

    def settle(self, job_dir: str, seconds: float) -> None:
        """Wait until processes of the command that were killed have ended, at most so many seconds.

        No-op by default: an engine reports the state that it has determined.
        """
        del job_dir, seconds

    @abc.abstractmethod
    def refresh(self, job_dir: str) -> Probe:
        """Like :meth:`probe`, for the single process that holds the lock of the job.

        If the command has ended, its exit status is recorded and its remaining processes are killed.
        """

    @abc.abstractmethod
    def signal(self, job_dir: str, number: int) -> None:
        """Send a signal to all processes of the command."""

    @abc.abstractmethod
    def clear(self, job_dir: str, grace: float = 0.0) -> None:
        """End all processes of the command: SIGTERM, ``grace`` seconds, SIGKILL.

        :raises JobError: when a process cannot be ended.
        """

    @abc.abstractmethod
    def forget(self, job_dir: str) -> None:
        """Remove the records of a command that was lost, so that it counts as never started."""
