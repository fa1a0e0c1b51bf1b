# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape of a step.

A step is a class without state of its own; what it works on is the :class:`StepContext`.
The supervisor calls, in this order: ``command`` (prepares the work directory), the runner,
``progress`` (any time, by anyone), and ``finish`` once the command has ended well.
"""

from __future__ import annotations

import abc
import signal
import typing as t

from ..distributed.node_link import Link
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.progress import Progress
from ..runs.spec import Toolchain


class Step(abc.ABC):
    """A step of the flow."""

    kind: t.ClassVar[str]
    #: Takes the machine for itself (one at a time, in order).
    exclusive: t.ClassVar[bool] = False

    def on_gpu(self, ctx: StepContext) -> bool:
        """Whether its command computes on the GPU, and so waits until nobody else does."""
        del ctx
        return False

    def image(self, toolchain: Toolchain) -> str:
        """The image its command runs in; empty for one that runs on the host itself."""
        del toolchain
        return ""

    def link(self, ctx: StepContext, session: str) -> Link | None:
        """The line to other hosts that run a part of it at the same time; None where there are none.

        :param session: names the attempt.
        """
        del ctx, session
        return None

    @abc.abstractmethod
    def command(self, ctx: StepContext) -> Command | None:
        """Prepare ``ctx.work`` (which may hold an earlier attempt) and say what to run; None for nothing.

        :raises CoreError: when it cannot run; nothing has been started then.
        """

    def perform(self, ctx: StepContext) -> None:
        """The step's own work, in a process of its own; only for steps whose command is that of ``worker_command``."""
        raise NotImplementedError(f"{self.kind} has no work of its own in {ctx.work}")

    def progress(self, ctx: StepContext) -> Progress | None:
        """How far the running command is; None when nothing is known yet. Reads only."""
        del ctx
        return None

    @abc.abstractmethod
    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        """Check that what the command left in ``ctx.work`` is whole, tidy it, and tell the results.

        :raises JobError: when it is not whole; the command's exit status was no proof.
        """

    def drift(self, ctx: StepContext) -> list[str]:
        """What is no longer as the receipt says, outside of the data directory; reads only."""
        del ctx
        return []

    def stop(self, ctx: StepContext, send: t.Callable[[int], None]) -> float:
        """Ask the running command to end well, keeping what it can go on from.

        :param send: sends a signal to all of the command's processes.
        :returns: seconds it may take before it is killed.
        """
        del ctx
        send(signal.SIGTERM)
        return 10.0

    def explain(self, log_tail: t.Sequence[str]) -> tuple[str, str]:
        """Message and hint for a command that failed, from the end of its log."""
        last = log_tail[-1] if log_tail else "no output"
        return last, "The whole log lies in the job's directory."
