# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversations for the tests of chat formats, and the markers of the templates."""

from __future__ import annotations

import re

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats import facts
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.canonical import (
    canonical_tools,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.probes import (
    FILM,
    PROBES,
    WEATHER,
    Probe,
    answer,
    calls,
    result,
    system,
    user,
)

#: Special tokens of the test vocabulary. The first is EOS, the second BOS.
EOS, BOS = "</s>", "<s>"
_MARKERS = re.compile(
    r"<\|[^|>\s]*\|?>|<[^|>\s]*\|>|<｜[^｜]*｜>|\[/?[A-Z_]{3,}\]|</?s>|<(?:start|end)_of_turn>|<[^<>\s]*of_sentence>"
    r"|</?role>|\]~!?b(?:\[\]~b)?\]|\[e~\[|\[\|[a-z]+\|\]|<eo[sd]>|<_[a-z]+>|<sop>|\[gMASK\]|<sep>|</?tool_call>"
    r"|</?think>|<unk>|reserved_\d|◁/?think▷|</?seed:[a-z_]+>"
)
#: ``[/INST]`` is a single token for Mistral's models and none for Llama 2; it is one here.
_MORE_MARKERS = ("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "]~b]", "]~!b[", "[e~[")
_NO_MARKERS = ("]~!b[]~b]",)

#: Schemas of every shape; LLaMA-Factory's default format ends with an error at some of them.
ODD = canonical_tools(
    [
        {
            "name": "set_level",
            "description": "Règle le niveau",
            "parameters": {
                "type": "object",
                "properties": {
                    "a": {"type": "number", "description": "Niveau", "enum": [0, 50, 100, 0.5, 1000000, True, "x"]},
                    "b": {"type": "array", "items": {"type": ["string", "null"]}},
                    "c": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"z": {"type": "integer"}}}]},
                    "d": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}]},
                    "e": {"type": ["integer", "null"], "description": "Rien"},
                    "f": {"type": "object", "properties": {"y": {"enum": [1, 2]}}, "required": ["y"]},
                },
                "required": ["a", "e"],
            },
        }
    ]
)[0]
#: 14 conversations: the probes, and what real conversations have besides.
CONVERSATIONS: tuple[Probe, ...] = (
    *PROBES,
    Probe("odd schemas", (system(), user("Plus fort")), tuple(ODD)),
    Probe(
        "texts that look like a template",
        (
            system("{{ .System }} {{content}} {% if x %}"),
            user('Que font {{ .Content }}, {{content}}, {{- end }} et """ ?\n\n- deux\n\ttrois\n'),
            answer("Ce sont des marques : {{ .Content }} {{content}}."),
            user("  Et `{{ range .Messages }}` ?\r\nDès Noël, l\u2019œuf\u00a0; 日本 🚀"),
        ),
    ),
    Probe(
        "text before a call",
        (
            user("Ajoute Heat, puis la météo"),
            calls(("add_film", {"title": "Heat"}), text="Je l'ajoute."),
            result("ok", "add_film"),
            answer("C'est fait."),
            user("Et la météo ?"),
            calls(("get_weather", {"city": "Brest", "days": 3})),
            result("12 °C"),
        ),
        (FILM, WEATHER),
    ),
)


def markers() -> list[str]:
    """The markers of all templates, which are special tokens in the test vocabulary; EOS and BOS first."""
    found: set[str] = set(_MORE_MARKERS)
    for name in facts.names():
        template = facts.facts_of(name)
        texts = [*template.thought_words, *template.tool_call_words]
        # LLaMA-Factory makes each a special token, but for its own template alone
        found.update(word for word in template.stop_words if word.startswith("<"))
        for slots in ("prefix", "user", "assistant", "system", "function", "observation"):
            for part in getattr(template, slots).parts:
                if isinstance(part, str):
                    texts.append(part)
                elif "token" in part:
                    found.add(part["token"])
        for text in texts:
            found.update(_MARKERS.findall(text))
    return [EOS, BOS, *sorted(found - {EOS, BOS, *_NO_MARKERS})]
