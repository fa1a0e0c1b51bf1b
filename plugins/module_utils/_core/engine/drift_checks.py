# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks each step once whether its result has drifted, so that decisions can be made on the answers later.

A server outside of the data directory may take seconds to answer. It must not be asked while the queue is locked:
:meth:`DriftChecks.closed` has only the answers that were obtained before.
"""

from __future__ import annotations

import dataclasses
import json

from ..artifacts.layout import Layout
from ..errors import CoreError
from ..messages.message import Message
from ..runs.job_context import step_context
from ..runs.spec import StepSpec, Toolchain
from ..steps.registry import get_step
from ..steps.step import Drift
from .gpu_lease import ollama_stopped_for


class NotAskedError(CoreError):
    """The drift of a step is needed and was not asked for before."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer of a step.

    :param drift: in sync, drifted or unknown.
    :param excuse: why a drift that is unknown counts as in sync; None when it does not.
    """

    drift: Drift
    excuse: Message | None = None


class DriftChecks:
    """The answers of the steps in one pass over the queue, or for one observation.

    :param layout: the data directory.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._answers: dict[tuple[str, ...], Answer | CoreError] = {}
        self._silent_servers: dict[str, Drift] = {}
        self._is_closed = False
        self._default: Answer | None = None

    def closed(self, default: Drift | None = None) -> DriftChecks:
        """Return checks with the answers so far, which ask nothing more.

        :param default: the answer of a step that was not asked; without it, :meth:`check` raises NotAskedError.
        """
        checks = DriftChecks(self._layout)
        checks._answers, checks._is_closed = self._answers, True
        checks._default = Answer(default) if default is not None else None
        return checks

    def check(self, spec: StepSpec, toolchain: Toolchain) -> Answer:
        """Return whether the complete artifact of a step has drifted.

        :raises CoreError: when the step fails with an error that does not pass by itself.
        :raises NotAskedError: when these checks are closed and the step was not asked.
        """
        options = json.dumps(spec.options, sort_keys=True, default=str)
        key = (spec.kind, spec.fingerprint, toolchain.ollama_address, options)
        if key not in self._answers:
            if self._default is not None:
                return self._default
            if self._is_closed:
                raise NotAskedError("engine.not_asked", kind=spec.kind, fingerprint=spec.fingerprint[:12])
            try:
                self._answers[key] = self._ask(spec, toolchain)
            except CoreError as error:
                self._answers[key] = error
        answer = self._answers[key]
        if isinstance(answer, CoreError):
            raise answer
        return answer

    def _ask(self, spec: StepSpec, toolchain: Toolchain) -> Answer:
        step = get_step(spec.kind)
        url = toolchain.ollama_address if step.uses_ollama else ""
        drift = self._silent_servers.get(url) or step.check_drift(step_context(self._layout, spec, toolchain))
        if drift.unknown is None or not url:
            return Answer(drift)
        self._silent_servers[url] = drift  # the other steps would wait as long for its answer
        stopped_for = ollama_stopped_for(self._layout, url)
        return Answer(drift, Message("engine.ollama_stopped_for", training=stopped_for) if stopped_for else None)
