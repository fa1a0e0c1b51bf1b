# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of a step.

A step is a class without state; its inputs and paths are in the :class:`StepContext`. The supervisor calls, in this
order: ``command`` (prepares the work directory), the runner, and ``finish`` after the command has ended with status 0.
Any process may call ``progress`` at any time.
"""

from __future__ import annotations

import abc
import dataclasses
import signal
import typing as t

from ..artifacts.layout import Layout
from ..distributed.node_link import Link
from ..errors import RemoteError
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.progress import Progress
from ..runs.spec import StepSpec, Toolchain

#: Seconds without an answer after which the drift of a step in another server cannot be determined.
DRIFT_TIMEOUT = 5.0


@dataclasses.dataclass(frozen=True)
class Drift:
    """Whether the state outside of the data directory is as the receipt of a step says: in sync, drifted or unknown.

    :param reasons: how it deviates; empty when it does not, or when that is unknown.
    :param unknown: why it cannot be determined now; None when it was determined.
    """

    reasons: tuple[Message, ...] = ()
    unknown: Message | None = None

    @property
    def is_in_sync(self) -> bool:
        """Whether the state was determined and does not deviate."""
        return not self.reasons and self.unknown is None


class Step(abc.ABC):
    """A step of the pipeline."""

    kind: t.ClassVar[str]
    #: Whether the step needs exclusive use of the machine: exclusive jobs run one at a time, in queue order.
    exclusive: t.ClassVar[bool] = False
    #: Whether the step uses Ollama: no other job stops or restarts it from the start of its job to the end.
    uses_ollama: t.ClassVar[bool] = False

    def on_gpu(self, ctx: StepContext) -> bool:
        """Whether its command uses the GPU, and therefore waits until no foreign process does."""
        del ctx
        return False

    def image(self, toolchain: Toolchain) -> str:
        """Return the image in which its command runs; empty for a command that runs on the host."""
        del toolchain
        return ""

    def link(self, ctx: StepContext, session: str) -> Link | None:
        """Return the connection to the other hosts that run a part of the step; None when there are none.

        :param session: identifies the attempt.
        """
        del ctx, session
        return None

    def inputs(self, layout: Layout, spec: StepSpec) -> list[tuple[str, str]]:
        """Return kind and fingerprint of all artifacts that must be complete before the step can run. Read-only.

        By default those that its fingerprint names.
        """
        del layout
        return list(spec.upstream.items())

    @abc.abstractmethod
    def command(self, ctx: StepContext) -> Command | None:
        """Prepare ``ctx.work`` (which may contain an earlier attempt) and return the command to run; None for none.

        :raises CoreError: when the step cannot run; nothing has been started then.
        """

    def perform(self, ctx: StepContext) -> None:
        """Do the step's own work, in a separate process; only for steps that use ``worker_command``.

        :raises CoreError: when the step fails.
        """
        raise NotImplementedError(f"{self.kind} has no work of its own in {ctx.work}")

    def progress(self, ctx: StepContext) -> Progress | None:
        """Return the progress of the running command; None when it is not known yet. Read-only."""
        del ctx
        return None

    @abc.abstractmethod
    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        """Check that the command's output in ``ctx.work`` is complete, clean it up, and return the results.

        :returns: the ``results`` of the receipt.
        :raises JobError: when the output is incomplete; an exit status of 0 does not prove that it is complete.
        """

    def drift(self, ctx: StepContext) -> list[Message]:
        """Return how the state outside the data directory deviates from the receipt; empty if intact. Read-only.

        :raises RemoteError: when it cannot be determined now, because a server does not answer within
            :data:`DRIFT_TIMEOUT`.
        """
        del ctx
        return []

    def check_drift(self, ctx: StepContext) -> Drift:
        """Return the result of :meth:`drift`, which may be unknown. Read-only.

        :raises CoreError: when the state cannot be determined, and waiting does not change that.
        """
        try:
            return Drift(reasons=tuple(self.drift(ctx)))
        except RemoteError as error:
            if error.details.get("status") in (401, 403):
                raise  # this does not pass by itself
            return Drift(unknown=error.content)

    def stop(self, ctx: StepContext, send: t.Callable[[int], None]) -> float:
        """Ask the running command to stop and to keep a checkpoint from which it can resume.

        :param send: sends a signal to all processes of the command.
        :returns: seconds until the command is killed.
        """
        del ctx
        send(signal.SIGTERM)
        return 10.0

    def explain(self, log_tail: t.Sequence[str]) -> Message:
        """Return the message, with its hint, for a failed command, from the end of its log."""
        return Message("steps.last_line", line=log_tail[-1]) if log_tail else Message("steps.no_output")
