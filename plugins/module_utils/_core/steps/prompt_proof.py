# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server proves that it gives a registered model the prompts that it was trained with.

What ``/api/show`` reports of a template is no proof: a server may prefer the chat template in the GGUF file or a
built-in renderer. So each probe is rendered by the server itself (``_debug_render_only`` of ``/api/chat``) and compared
with LLaMA-Factory's text. Probes are also answered with one token, which shows that the model loads, and the number of
tokens of the prompt is compared: for three probes always, for the others while it is fast. On a GPU that is all of
them; a large model on a CPU would take minutes.
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from ..chat_formats.probes import Probe, probes_for
from ..chat_formats.proof import Difference, compare
from ..errors import JobError, RemoteError
from ..messages.message import Message
from ..ollama.client import Ollama
from .prompt_probes import Probes

#: Context for the probes, in tokens, if the model has a smaller one: a server leaves out what does not fit.
_CONTEXT = 4096

#: The probes that are always answered: a plain conversation, text that needs escapes, an answer to continue.
_ALWAYS_ANSWERED = ("several turns", "special characters", "continued answer")
#: Seconds after which no further probe is answered.
_ANSWER_SECONDS = 1.0


class NotProvenError(JobError):
    """The server renders a prompt differently than the training, or cannot load the model."""


def prove(
    ollama: Ollama,
    tag: str,
    probes: Probes,
    *,
    system: str = "",
    default_system: str = "",
    server_bos: str = "",
    parameters: t.Mapping[str, t.Any] | None = None,
    unload: bool = False,
) -> dict[str, t.Any]:
    """Compare the prompts of a model with those of its training, and have it answer.

    :param tag: full name of the model.
    :param probes: the probes of the training. If there are none, the model only answers a question.
    :param system: system prompt that the model is registered with.
    :param default_system: system prompt that the training inserted into rows without one.
    :param server_bos: text of the BOS token that the server puts before prompts; empty if it adds none.
    :param parameters: parameters that the model is registered with.
    :param unload: whether the model leaves memory afterwards.
    :returns: ``probes``, names of those whose text is equal; ``counted``, names of those whose number of tokens is;
        ``skipped``, the others with the reason in English, and ``skipped_messages``, with the reason as a message.
    :raises NotProvenError: at the first difference, or if the model cannot be loaded.
    :raises RemoteError: if the server does not answer.
    """
    options: dict[str, t.Any] = {"num_predict": 1, "temperature": 0}
    if 0 < int((parameters or {}).get("num_ctx") or 0) < _CONTEXT:
        options["num_ctx"] = _CONTEXT
    made = probes_for(probes.template, enable_thinking=probes.enable_thinking, tool_format=probes.tool_format)
    known = {probe.name: probe for probe in made}
    skipped: dict[str, Message] = {}
    chosen: list[Probe] = []
    for name in dict.fromkeys((*known, *probes.rendered)):
        if name not in probes.rendered:
            continue
        probe, expected = known.get(name), probes.rendered[name]
        if probe is None:
            skipped[name] = Message("steps.probe_unknown")
        elif "error" in expected:
            skipped[name] = Message("steps.probe_not_rendered", reason=expected["error"])
        elif not _has_system(probe) and (system or default_system) != default_system:
            skipped[name] = Message("steps.own_system_prompt")
        else:
            chosen.append(probe)
    server = _Server(ollama, tag, options)
    texts: dict[str, str] = {}
    for probe in chosen:
        texts[probe.name] = server.render(probe)
        server.require_equal(compare(probe.name, probes.rendered[probe.name], texts[probe.name], None, server_bos))
    counted: list[str] = []
    end = time.monotonic() + _ANSWER_SECONDS
    for probe in sorted(chosen, key=lambda each: each.name not in _ALWAYS_ANSWERED):
        if probe.name not in _ALWAYS_ANSWERED and counted and time.monotonic() > end:
            break
        tokens, expected = server.count(probe), probes.rendered[probe.name]
        server.require_equal(compare(probe.name, expected, texts[probe.name], tokens, server_bos))
        counted.append(probe.name)
    if not counted:
        server.count(known["no system prompt"])
        if probes.reason is not None:
            skipped.setdefault("all", probes.reason)
    if unload:
        ollama.unload(tag)
    return {
        "probes": [probe.name for probe in chosen],
        "counted": counted,
        "skipped": {name: str(reason) for name, reason in skipped.items()},
        "skipped_messages": {name: reason.as_dict() for name, reason in skipped.items()},
    }


def _has_system(probe: Probe) -> bool:
    return any(message["role"] == "system" for message in probe.messages)


class _Server:
    """The server that is asked about one model."""

    def __init__(self, ollama: Ollama, tag: str, options: t.Mapping[str, t.Any]) -> None:
        self._ollama, self._tag, self._options = ollama, tag, options

    def render(self, probe: Probe) -> str:
        """Return the prompt of a probe."""
        with self._no_error():
            return self._ollama.render(self._tag, options=self._options, **probe.request())

    def count(self, probe: Probe) -> int:
        """Answer a probe with one token; return the number of tokens of its prompt."""
        with self._no_error():
            reply = self._ollama.chat(self._tag, options=self._options, **probe.request())
        return int(reply.get("prompt_eval_count") or 0)

    @contextlib.contextmanager
    def _no_error(self) -> t.Iterator[None]:
        """Tell a server that cannot use the model from a server that does not answer."""
        try:
            yield
        except RemoteError as error:
            if int(error.details.get("status") or 0) < 400:
                raise
            raise NotProvenError(
                "steps.model_unusable",
                tag=self._tag,
                url=self._ollama.url,
                reason=error.details.get("error"),
                problem=error.content,
                details=error.details,
            ) from error

    def require_equal(self, difference: Difference | None) -> None:
        """Raise an error if there is a difference."""
        if difference is None:
            return
        details = {"probe": difference.probe, "position": difference.position}
        raise NotProvenError(
            "steps.prompt_not_proven",
            url=self._ollama.url,
            tag=self._tag,
            difference=difference.content,
            details={**details, "expected": difference.expected, "got": difference.got},
        )
