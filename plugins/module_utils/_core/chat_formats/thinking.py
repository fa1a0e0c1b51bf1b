# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``thinking`` of a training stands for: whether the model learns to write a thought before its answer."""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import InputError
from ..messages.message import Message
from .facts import TemplateFacts, facts_of, names
from .thoughts import AGAIN, ALONE, INSIDE, OPEN, own_words, spelled_for, templates_with

#: Values of the option ``thinking``: as the rows are; thoughts are trained and served; they are neither. In the
#: settings and the resolved options of a training, FROM_ROWS stands for the text of versions without this option.
FROM_ROWS, KEEP, OFF = "from_rows", "keep", "off"
#: Code of the refusal of an unclear thought, by kind.
_UNCLEAR = {
    OPEN: "chat_formats.thought_open",
    AGAIN: "chat_formats.thought_again",
    ALONE: "chat_formats.thought_alone",
    INSIDE: "chat_formats.thought_inside",
}


@dataclasses.dataclass(frozen=True)
class ThoughtUse:
    """The thoughts in the rows of a dataset.

    :param total: number of rows; :param rows: of rows with a thought; :param partly: of rows in which only some answers
        have one.
    :param spellings: the words around them, as ``opening`` and ``closing`` of :class:`.thoughts.Thought`.
    :param empty: the texts of empty thoughts.
    :param unclear: by kind and word (:class:`.thoughts.Unclear`), with the first place: ``kind``, ``marker``,
        ``count``, ``file``, ``row``, ``field``.
    """

    total: int = 0
    rows: int = 0
    partly: int = 0
    spellings: tuple[tuple[str, str], ...] = ()
    empty: tuple[str, ...] = ()
    unclear: tuple[t.Mapping[str, t.Any], ...] = ()

    @classmethod
    def from_results(cls, results: t.Mapping[str, t.Any]) -> ThoughtUse:
        """Read the statistics of a dataset; without them, no row has a thought."""
        found = results.get("thoughts") or {}
        return cls(
            int(results.get("rows") or 0),
            int(found.get("rows") or 0),
            int(found.get("partly") or 0),
            tuple((str(opening), str(closing)) for opening, closing in found.get("spellings") or ()),
            tuple(map(str, found.get("empty") or ())),
            tuple(found.get("unclear") or ()),
        )

    def spelled_for(self, facts: TemplateFacts) -> bool:
        """Whether every thought is spelled as a template spells it, so that no row has to be written again."""
        if any(each != facts.empty_thought for each in self.empty):
            return False
        return all(spelled_for(facts, opening, closing) for opening, closing in self.spellings)


@dataclasses.dataclass(frozen=True)
class ThinkingChoice:
    """What becomes of thoughts.

    :param policy: :data:`KEEP` or :data:`OFF`; :data:`FROM_ROWS` if the rows stay as they are, and nothing depends on
        it or a training of an earlier version exists.
    :param setting: as it enters the fingerprint of a training: :data:`FROM_ROWS` where the text is that of versions
        without this option.
    :param reason: why; None if nothing depends on it.
    :param warning: what the user may not expect; None if there is nothing.
    """

    policy: str
    setting: str = FROM_ROWS
    reason: Message | None = None
    warning: Message | None = None


def choose(declared: str, template: str, use: ThoughtUse, enable_thinking: t.Any = None) -> ThinkingChoice:
    """Choose what becomes of thoughts in a training.

    :param declared: :data:`FROM_ROWS`, :data:`KEEP` or :data:`OFF`.
    :param template: name of the chat template.
    :param use: the thoughts of the rows.
    :param enable_thinking: LLaMA-Factory's argument of that name in ``extra``; None if it is not set.
    :raises InputError: if ``extra`` contradicts, the template has no thoughts and the rows hold some or it is to
        learn them, or a thought cannot be distinguished from its answer.
    """
    if enable_thinking is not None and declared != FROM_ROWS:
        raise InputError("chat_formats.thinking_twice", thinking=declared, details={"argument": "enable_thinking"})
    if template not in names():
        return ThinkingChoice(FROM_ROWS)
    facts = facts_of(template)
    by_argument = facts.reasoning and enable_thinking is not None
    policy = (KEEP if enable_thinking else OFF) if by_argument else declared
    if policy == FROM_ROWS:
        policy = KEEP if use.rows else OFF
    _refuse(declared, policy, facts, use)
    if not facts.reasoning and not use.rows and not use.empty:
        return ThinkingChoice(FROM_ROWS)
    spelled = use.spelled_for(facts)
    if policy == KEEP:
        setting = FROM_ROWS if spelled else KEEP
    else:
        # with the argument, LLaMA-Factory itself removes what the template spells
        setting = FROM_ROWS if by_argument and spelled else OFF
    facts_of_rows = {"count": use.rows, "total": use.total, "without": use.total - use.rows}
    reason = Message(_reason(declared, policy, by_argument, use), **facts_of_rows)
    warning = None
    if policy == KEEP and 0 < use.rows < use.total:
        warning = Message("chat_formats.thoughts_mixed", **facts_of_rows)
    elif policy == KEEP and use.partly:
        warning = Message("chat_formats.thoughts_partly", partly=use.partly, total=use.total)
    return ThinkingChoice(policy, setting, reason, warning)


def _reason(declared: str, policy: str, by_argument: bool, use: ThoughtUse) -> str:
    if policy == OFF and use.rows:
        return "chat_formats.thoughts_removed"
    if by_argument:
        return "chat_formats.thinking_by_argument"
    if declared != FROM_ROWS:
        return "chat_formats.thinking_declared"
    return "chat_formats.thoughts_in_rows" if policy == KEEP else "chat_formats.thoughts_in_no_row"


def _refuse(declared: str, policy: str, facts: TemplateFacts, use: ThoughtUse) -> None:
    """Refuse thoughts that the template has no form for, and texts that LLaMA-Factory would train otherwise."""
    if policy == KEEP and not facts.reasoning:
        code = "chat_formats.thoughts_unknown" if declared == KEEP else "chat_formats.thoughts_not_written"
        raise InputError(code, template=facts.name, count=use.rows, known=templates_with())
    own = own_words(facts)
    for each in use.unclear:
        if each["kind"] != INSIDE or each["marker"] in own:
            where = {name: each[name] for name in ("file", "row", "field", "marker", "count")}
            code = _UNCLEAR[each["kind"]]
            raise InputError(code, **where, details=dict(each))


def keeps_prompt_open(resolved: t.Mapping[str, t.Any]) -> bool:
    """Whether a training leaves the thought to the model: LLaMA-Factory's ``enable_thinking``.

    :param resolved: all hyperparameters of the training.
    """
    declared = (resolved.get("extra") or {}).get("enable_thinking")
    return resolved.get("thinking") != OFF if declared is None else bool(declared)
