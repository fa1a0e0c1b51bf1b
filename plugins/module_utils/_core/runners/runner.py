# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs a command: the interface. ``engine.pending_steps.get_runner`` knows which ones there are."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os

from ..system.clock import utc_now
from ..system.files import append_json_line
from .command import Command

#: In a job's directory: what its command is, and how it ended.
COMMAND = "command.json"
EXIT = "exit.json"


def job_marker(job_dir: str) -> str:
    """What marks the processes of a job; the same wherever its run lies in the store, and for no other job."""
    run_dir, job = os.path.split(os.path.abspath(job_dir))
    store = os.path.realpath(os.path.dirname(os.path.dirname(run_dir)))
    return f"{store}:{os.path.basename(run_dir)}/{job}"


def note_signal(job_dir: str, number: int) -> None:
    """Note for people which signal a job was sent; a full disk must not keep anybody from stopping it."""
    with contextlib.suppress(OSError):
        append_json_line(os.path.join(job_dir, "signals.jsonl"), {"signal": number, "at": utc_now()})


@dataclasses.dataclass(frozen=True)
class Probe:
    """What is known of a job's command.

    :param state: ``absent`` (never started), ``running`` or ``ended``.
    :param exit_code: exit status; negative for a signal; None while it runs or when nobody saw it end.
    :param out_of_memory: whether the kernel or the engine killed something for memory while it ran, and it failed.
    """

    state: str
    exit_code: int | None = None
    out_of_memory: bool = False


class Runner(abc.ABC):
    """Starts, looks at and ends the one command of a job.

    All state is in the job's directory and in the kernel (or the engine): any process may ask.
    """

    name: str

    @abc.abstractmethod
    def start(self, command: Command, job_dir: str) -> None:
        """Start the command with its output appended to ``log.txt`` of the job.

        Who it is is written down before its first instruction runs.

        :raises NotReadyError: when it cannot be started.
        """

    @abc.abstractmethod
    def probe(self, job_dir: str) -> Probe:
        """Look at the command; changes nothing."""

    @abc.abstractmethod
    def refresh(self, job_dir: str) -> Probe:
        """As :meth:`probe`, for the one process that holds the job.

        A command found to have ended has its exit status written down and nothing of it left running.
        """

    @abc.abstractmethod
    def signal(self, job_dir: str, number: int) -> None:
        """Send a signal to all processes of the command."""

    @abc.abstractmethod
    def clear(self, job_dir: str, grace: float = 0.0) -> None:
        """See to it that nothing of the command runs any more: SIGTERM, ``grace`` seconds, SIGKILL.

        :raises JobError: when something of it cannot be ended.
        """

    @abc.abstractmethod
    def forget(self, job_dir: str) -> None:
        """Take away what is known of a command that was lost, so that it counts as never started."""
