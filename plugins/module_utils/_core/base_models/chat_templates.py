# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama templates that render the same text as the chat templates of training.

LLaMA-Factory defines the format of a conversation in training (``data/template.py`` of 0.9.5). This module holds the
same formats as data, and one function generates the Go template of each. ``tests/real/test_templates_real.py``
compares both, text and tokens, using LLaMA-Factory and Ollama themselves.

These templates are left out because no Ollama template reproduces the tokens of the training:

* ``vicuna``, ``llama2``: training tokenizes each message separately, a server tokenizes the full prompt at once.
  Where two messages meet without a special token or a line break between them (``questions.USER:``,
  ``[/INST]answer``), byte-pair vocabularies merge across the boundary, and the tokens differ.
* ``alpaca`` and ``default``, for the same reason, in conversations of several turns (``Assistant:answer``) or with a
  system prompt that does not end in a line break.
* templates for images and audio.

Tools are not rendered. Known differences that no template can avoid: an earlier answer that begins with a space or a
line break is tokenized together with the line break before it; SentencePiece vocabularies that insert a space before
each text (Llama 2, Mistral before 0.3) do so once per message in training.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing as t

from ..errors import InputError
from ..messages.suggestions import did_you_mean

#: Placeholder for the tokenizer's end-of-sequence token in a format.
EOS = "{eos}"
_NO_THOUGHT = "<think>\n\n</think>\n\n"


@dataclasses.dataclass(frozen=True)
class OllamaTemplate:
    """Format of a conversation for a model, in training and in Ollama.

    :param name: LLaMA-Factory's name of the template.
    :param user: text before and after a user message; the suffix includes the opening of the answer.
    :param assistant: text before and after an answer.
    :param system: text before and after the system prompt.
    :param stops: texts at which an answer ends.
    :param default_system: system prompt that training inserts for rows without one.
    :param bos: whether training begins with the tokenizer's BOS token (if it has one).
    :param fused: whether the system prompt is part of the first user message.
    :param thinking: whether answers begin with a thought; rows without one are trained with an empty thought.
    :param enable_thinking: LLaMA-Factory's argument of that name: if False, the empty thought belongs to the prompt.
    """

    name: str
    user: tuple[str, str]
    assistant: tuple[str, str]
    system: tuple[str, str]
    stops: tuple[str, ...] = ()
    default_system: str = ""
    bos: bool = False
    fused: bool = False
    thinking: bool = False
    enable_thinking: bool = True

    @property
    def needs_eos(self) -> bool:
        """Whether the format contains the tokenizer's EOS token, in the text or as a stop string."""
        return any(EOS in text for text in (*self.user, *self.assistant, *self.system, *self.stops))

    def stop_strings(self, eos: str = "") -> list[str]:
        """Return the texts at which Ollama must end an answer.

        :param eos: text of the tokenizer's EOS token, such as ``</s>``.
        """
        return list(dict.fromkeys(stop.replace(EOS, eos) for stop in self.stops if stop != EOS or eos))

    def go_template(self, eos: str = "", bos: str = "") -> str:
        """Return the template in Ollama's syntax (Go's ``text/template``).

        :param eos: text of the tokenizer's EOS token.
        :param bos: text of the BOS token, only if training begins with it and the server adds none.
        """
        begin, end = self.system
        answer = "{{ .Content }}"
        head, first, tail = "", "", ""
        if self.fused:
            # a variable that is cleared after use, so that only the first user message gets the system prompt
            head = "{{ $system := .System }}"
            first = f'{{{{ if $system }}}}{begin}{{{{ $system }}}}{end}{{{{ $system = "" }}}}{{{{ end }}}}'
        else:
            default = f"{{{{ else }}}}{begin}{self.default_system}{end}" if self.default_system else ""
            head = f"{{{{ if .System }}}}{begin}{{{{ .System }}}}{end}{default}{{{{ end }}}}"
        if self.thinking:
            # Ollama derives the delimiters of a thought from this form and removes the thought from the answer
            thought = "<think>\n{{ .Thinking }}\n</think>\n\n"
            answer = f"{{{{ if .Thinking }}}}{thought}{{{{ else }}}}{_NO_THOUGHT}{{{{ end }}}}{answer}"
            if self.enable_thinking:
                tail = f"{{{{ if and .IsThinkSet (not .Think) }}}}{_NO_THOUGHT}{{{{ end }}}}"
            else:
                tail = _NO_THOUGHT
        text = (
            f"{bos}{head}{{{{ range .Messages }}}}"
            f'{{{{ if eq .Role "user" }}}}{self.user[0]}{first}{{{{ .Content }}}}{self.user[1]}'
            f'{{{{ else if eq .Role "assistant" }}}}{self.assistant[0]}{answer}{self.assistant[1]}'
            f"{{{{ end }}}}{{{{ end }}}}{tail}"
        )
        return text.replace(EOS, eos)


def template_for(name: str, enable_thinking: bool | None = True) -> OllamaTemplate:
    """Return the Ollama template for a training template.

    :param name: LLaMA-Factory's name, such as ``qwen``.
    :param enable_thinking: value used in training; None acts like False outside of training.
    :raises InputError: if there is no template of that name.
    """
    template = TEMPLATES.get(name)
    if template is None:
        suggestions = difflib.get_close_matches(name, TEMPLATES, 3, 0.5)
        raise InputError(
            "base_models.no_ollama_template",
            name=name,
            suggestion=did_you_mean(suggestions),
            known=sorted(TEMPLATES),
            details={"template": name, "known": sorted(TEMPLATES)},
        )
    return dataclasses.replace(template, enable_thinking=bool(enable_thinking)) if template.thinking else template


def system_for(template: OllamaTemplate, dataset_results: t.Mapping[str, t.Any]) -> tuple[str, str]:
    """Return the system prompt to serve a model with: the one it was trained with.

    :param dataset_results: results in the receipt of the dataset; ``systems`` holds the ``most_common`` system prompt,
        the number of ``rows`` with it, the number of ``distinct`` ones, and the number of rows ``without`` one.
    :returns: the system prompt (empty for none), and a warning if the rows differ (else empty).
    """
    systems = dict(dataset_results.get("systems") or {})
    most_common = str(systems.get("most_common") or "")
    count = int(systems.get("rows") or 0)
    distinct = int(systems.get("distinct") or 0)
    without = int(systems.get("without") or 0)
    if not most_common or not count:
        return template.default_system, ""
    by_default = without > count
    chosen = template.default_system if by_default else most_common
    if distinct <= 1 and (not without or most_common == template.default_system):
        return chosen, ""
    kinds = f"{distinct} different system prompts" if distinct > 1 else "one system prompt"
    rest = f", and {without} rows have none" if without else ""
    if by_default:
        served = f"the template's own ({chosen!r})" if chosen else "none"
        return chosen, f"The rows hold {kinds}{rest}: the model is served with {served}, as most rows were trained."
    share = f"the most common one, of {count} rows"
    return chosen, f"The rows hold {kinds}{rest}: the model is served with {share}."


def _chatml(name: str, **fields: t.Any) -> OllamaTemplate:
    return OllamaTemplate(
        name,
        user=("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
        assistant=("", "<|im_end|>\n"),
        system=("<|im_start|>system\n", "<|im_end|>\n"),
        **{"stops": ("<|im_end|>",), **fields},
    )


def _gemma(name: str, stops: tuple[str, ...]) -> OllamaTemplate:
    return OllamaTemplate(
        name,
        user=("<start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n"),
        assistant=("", "<end_of_turn>\n"),
        system=("", "\n\n"),
        stops=stops,
        bos=True,
        fused=True,
    )


_ALL = (
    _chatml("chatml", stops=("<|im_end|>", "<|im_start|>")),
    _chatml("qwen", default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    _chatml("qwen3", thinking=True),
    _chatml("qwen3_nothink"),
    _chatml("smollm"),
    _chatml("smollm2", default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face."),
    _chatml("yi"),
    OllamaTemplate(
        "llama3",
        user=(
            "<|start_header_id|>user<|end_header_id|>\n\n",
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        assistant=("", "<|eot_id|>"),
        system=("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
        stops=("<|eot_id|>", "<|eom_id|>"),
        bos=True,
    ),
    OllamaTemplate(
        "mistral",
        user=("[INST] ", "[/INST]"),
        assistant=(" ", EOS),
        system=("", "\n\n"),
        stops=(EOS,),
        bos=True,
        fused=True,
    ),
    OllamaTemplate(
        "ministral",
        user=("[INST]", "[/INST]"),
        assistant=("", EOS),
        system=("", "\n\n"),
        stops=(EOS,),
        bos=True,
        fused=True,
    ),
    OllamaTemplate(
        "mistral_small",
        user=("[INST]", "[/INST]"),
        assistant=("", EOS),
        system=("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        stops=(EOS,),
        bos=True,
    ),
    _gemma("gemma", ("<end_of_turn>",)),
    _gemma("gemma2", ("<eos>", "<end_of_turn>")),
    _gemma("gemma3", ("<end_of_turn>",)),
    OllamaTemplate(
        "phi",
        user=("<|user|>\n", "<|end|>\n<|assistant|>\n"),
        assistant=("", "<|end|>\n"),
        system=("<|system|>\n", "<|end|>\n"),
        stops=("<|end|>",),
    ),
    OllamaTemplate(
        "phi4",
        user=("<|im_start|>user<|im_sep|>", "<|im_end|><|im_start|>assistant<|im_sep|>"),
        assistant=("", "<|im_end|>"),
        system=("<|im_start|>system<|im_sep|>", "<|im_end|>"),
        stops=("<|im_end|>",),
    ),
    OllamaTemplate(
        "phi4_mini",
        user=("<|user|>", "<|end|><|assistant|>"),
        assistant=("", "<|end|>"),
        system=("<|system|>", "<|end|>"),
        stops=("<|end|>",),
    ),
    OllamaTemplate(
        "zephyr",
        user=("<|user|>\n", f"{EOS}<|assistant|>\n"),
        assistant=("", EOS),
        system=("<|system|>\n", EOS),
        stops=(EOS,),
        default_system="You are Zephyr, a helpful assistant.",
    ),
    OllamaTemplate(
        "deepseek3",
        user=("<｜User｜>", "<｜Assistant｜>"),
        assistant=("", EOS),
        system=("", ""),
        stops=(EOS,),
        bos=True,
    ),
    OllamaTemplate(
        "deepseekr1",
        user=("<｜User｜>", "<｜Assistant｜>"),
        assistant=("", EOS),
        system=("", ""),
        stops=(EOS,),
        bos=True,
        thinking=True,
    ),
)

#: Every training template that Ollama can reproduce, by LLaMA-Factory's name.
TEMPLATES: dict[str, OllamaTemplate] = {template.name: template for template in _ALL}
