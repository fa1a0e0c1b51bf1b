# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server proves that it gives a registered model the prompts that it was trained with.

What ``/api/show`` reports of a template is no proof: a server may prefer the chat template in the GGUF file or a
built-in renderer. So each probe is rendered by the server itself (``_debug_render_only`` of ``/api/chat``) and compared
with LLaMA-Factory's text, then answered with one token: the number of tokens of its prompt is compared as well, and the
model is known to load.
"""

from __future__ import annotations

import typing as t

from ..chat_formats.probes import Probe, probes_for
from ..chat_formats.proof import compare
from ..errors import JobError, RemoteError
from ..ollama.client import Ollama
from .prompt_probes import Probes

#: Context for the probes, in tokens, if the model has a smaller one: a server leaves out what does not fit.
_CONTEXT = 4096

_NO_SYSTEM = "no system prompt"


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
    :returns: ``probes``, names of those that are equal; ``skipped``, the others with the reason; ``tokens``, number of
        prompt tokens that were compared.
    :raises NotProvenError: at the first difference, or if the model cannot be loaded.
    :raises RemoteError: if the server does not answer.
    """
    options: dict[str, t.Any] = {"num_predict": 1, "temperature": 0}
    if 0 < int((parameters or {}).get("num_ctx") or 0) < _CONTEXT:
        options["num_ctx"] = _CONTEXT
    known = {probe.name: probe for probe in probes_for(probes.template, enable_thinking=probes.enable_thinking)}
    skipped: dict[str, str] = {}
    equal: list[str] = []
    tokens = 0
    for name, expected in probes.rendered.items():
        probe = known.get(name)
        without_system = probe is not None and all(message["role"] != "system" for message in probe.messages)
        if probe is None:
            skipped[name] = "this version of the collection does not know it"
        elif "error" in expected:
            skipped[name] = f"LLaMA-Factory cannot render it: {expected['error']}"
        elif without_system and (system or default_system) != default_system:
            skipped[name] = "the model is registered with a system prompt of its own"
        else:
            _compare_one(ollama, tag, probe, expected, options, server_bos)
            equal.append(name)
            tokens += len(expected["ids"])
    if not equal:
        question = [{"role": "user", "content": "?"}]
        _asked(ollama, tag, lambda: ollama.chat(tag, question, options))
        if probes.reason:
            skipped.setdefault("all", probes.reason)
    if unload:
        ollama.unload(tag)
    return {"probes": equal, "skipped": skipped, "tokens": tokens}


def _compare_one(
    ollama: Ollama,
    tag: str,
    probe: Probe,
    expected: t.Mapping[str, t.Any],
    options: t.Mapping[str, t.Any],
    server_bos: str,
) -> None:
    body = probe.request()
    messages = body.pop("messages")
    rendered = _asked(ollama, tag, lambda: ollama.render(tag, messages, options, **body))
    reply = _asked(ollama, tag, lambda: ollama.chat(tag, messages, options, **body))
    difference = compare(probe.name, expected, rendered, int(reply.get("prompt_eval_count") or 0), server_bos)
    if difference is not None:
        raise NotProvenError(
            f"Ollama at {ollama.url} does not give {tag} the prompt it was trained with. {difference}",
            "No tag was moved. Is this version of Ollama supported, and the GGUF file made from this training?",
            {
                "probe": probe.name,
                "position": difference.position,
                "expected": difference.expected,
                "got": difference.got,
            },
        )


_Answer = t.TypeVar("_Answer")


def _asked(ollama: Ollama, tag: str, ask: t.Callable[[], _Answer]) -> _Answer:
    """Ask the server.

    :raises NotProvenError: if the server answers that it cannot load the model or use its template.
    """
    try:
        return ask()
    except RemoteError as error:
        if int(error.details.get("status") or 0) < 400:
            raise
        raise NotProvenError(
            f"{tag} cannot be used in Ollama at {ollama.url}: {error.details.get('error')}.",
            f"No tag was moved. {error.hint}".strip(),
            dict(error.details),
        ) from error
