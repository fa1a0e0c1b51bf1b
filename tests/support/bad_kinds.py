# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad rows of the other kinds: pairs of answers, rated answers, text. Each after a good row of its kind."""

from __future__ import annotations

import typing as t

from ansible_collections.ia_homelab.llamafactory.tests.support.bad_data import Bad, say

ASKED = [say("human", "a")]
#: Values that are not text, and the expected message.
NOT_TEXT: dict[str, tuple[t.Any, str]] = {
    "a number": (7, "a number (7), not text"),
    "a fraction": (0.5, "a number (0.5), not text"),
    "a boolean": (False, "a boolean (false), not text"),
    "null": (None, "null, not text"),
    "a list": (["a"], "a list of 1, not text"),
    "an object": ({"a": 1}, "an object, not text"),
    "empty": ("", "empty"),
    "blank": ("\u2003\n", "empty"),
    "a NUL": ("a\0", "a NUL character"),
    "half a pair": ("\udfff!", "(U+DFFF) at character 1"),
}
#: The same for booleans. LLaMA-Factory would read these as good answers, or skip them.
NO_TAG: dict[str, tuple[t.Any, str]] = {
    "text true": ("true", "text ('true'), not true or false"),
    "text False": ("False", "text ('False'), not true or false"),
    "one": (1, "a number (1), not true or false"),
    "zero": (0, "a number (0), not true or false"),
    "a fraction": (1.0, "a number (1.0), not true or false"),
    "null": (None, "null, not true or false"),
    "a list": ([True], "a list of 1, not true or false"),
    "an object": ({"value": True}, "an object, not true or false"),
}


def pair(row: t.Any, field: str, what: str) -> Bad:
    """A bad row with two answers."""
    return Bad("records", [{"instruction": "a", "chosen": "b", "rejected": "c"}, row], 2, field, what, "alpaca")


def turns(field: str, what: str, **row: t.Any) -> Bad:
    """A bad row with two turns to choose from."""
    good = {"conversations": ASKED, "chosen": say("gpt", "b"), "rejected": say("gpt", "c")}
    return Bad("records", [good, {**good, **row}], 2, field, what, "sharegpt")


def chat(field: str, what: str, **row: t.Any) -> Bad:
    """The same as OpenAI writes it."""
    good = {
        "messages": [{"role": "user", "content": "a"}],
        "chosen": {"role": "assistant", "content": "b"},
        "rejected": {"role": "assistant", "content": "c"},
    }
    return Bad("records", [good, {**good, **row}], 2, field, what, "openai")


def liked(field: str, what: str, **row: t.Any) -> Bad:
    """A bad row with a tag."""
    good = {"instruction": "a", "output": "b", "kto_tag": True}
    return Bad("records", [good, {**good, **row}], 2, field, what, "alpaca")


def text(row: t.Any, field: str, what: str) -> Bad:
    """A bad row of text."""
    return Bad("records", [{"text": "a"}, row], 2, field, what, "text")


KINDS: dict[str, Bad] = {
    **{
        f"{name} is {label}": pair({"instruction": "a", "chosen": "b", "rejected": "c", name: value}, name, what)
        for name in ("chosen", "rejected")
        for label, (value, what) in NOT_TEXT.items()
    },
    **{f"text is {label}": text({"text": value}, "text", what) for label, (value, what) in NOT_TEXT.items()},
    **{
        f"value of {name} is {label}": turns(f"{name}.value", what, **{name: say("gpt", value)})
        for name in ("chosen", "rejected")
        for label, (value, what) in NOT_TEXT.items()
    },
    **{f"kto_tag is {label}": liked("kto_tag", what, kto_tag=value) for label, (value, what) in NO_TAG.items()},
    **{
        f"kto_tag of turns is {label}": Bad(
            "records",
            [{"conversations": [*ASKED, say("gpt", "b")], "kto_tag": tag} for tag in (True, value)],
            2,
            "kto_tag",
            what,
            "sharegpt",
        )
        for label, (value, what) in NO_TAG.items()
    },
    # pairs
    "pair without chosen": pair({"instruction": "a", "rejected": "c"}, "chosen", "missing"),
    "pair without rejected": pair({"instruction": "a", "chosen": "b"}, "rejected", "missing"),
    "pair without a question": pair({"chosen": "b", "rejected": "c"}, "instruction", "missing"),
    "pair with an output": pair(
        {"instruction": "a", "chosen": "b", "rejected": "c", "output": "d"}, "output", "the answer of rows for sft"
    ),
    "pair with a tag": pair(
        {"instruction": "a", "chosen": "b", "rejected": "c", "kto_tag": True}, "kto_tag", "for preference"
    ),
    "pair of the same": pair({"instruction": "a", "chosen": "b", "rejected": "b"}, "rejected", "the same as chosen"),
    "pair to a blank": pair({"instruction": " ", "chosen": "b", "rejected": "c"}, "instruction", "empty"),
    "pair is text": pair("b > c", "", "not an object"),
    "pair after a history of texts": pair(
        {"instruction": "a", "chosen": "b", "rejected": "c", "history": ["d"]}, "history[0]", "not a pair"
    ),
    "chosen is a conversation": pair(
        {"instruction": "a", "chosen": [say("gpt", "b")], "rejected": "c"}, "chosen", "a list of 1, not text"
    ),
    # turns to choose from
    "chosen is text beside turns": turns("chosen", "text ('b'), not a turn", chosen="b"),
    "rejected is null beside turns": turns("rejected", "null, not a turn", rejected=None),
    "chosen is a list of turns": turns(
        "chosen", "a list of 2, and each answer is one turn", chosen=[*ASKED, say("gpt", "b")]
    ),
    "chosen is a list of a question": turns("chosen.from", "'human', and 'gpt' is expected", chosen=ASKED),
    "chosen is a list of texts": turns("chosen", "a list of 1, not a turn", chosen=["b"]),
    "chosen without a role": turns("chosen.from", "missing", chosen={"value": "b"}),
    "chosen without a text": turns("chosen.value", "missing", chosen={"from": "gpt"}),
    "chosen is asked": turns("chosen.from", "'human', and 'gpt' is expected", chosen=say("human", "b")),
    "rejected is a system prompt": turns("rejected.from", "'system', and 'gpt' is", rejected=say("system", "b")),
    "chosen of another format": turns("chosen.from", "missing", chosen={"role": "assistant", "content": "b"}),
    "rejected of an unknown role": turns("rejected.from", "no role 'bot'", rejected=say("bot", "b")),
    "chosen with a score": turns("chosen.score", "no such key", chosen={**say("gpt", "b"), "score": 1}),
    "rejected calls nothing": turns("rejected.value", "it contains no call", rejected=say("function_call", "[]")),
    "turns of the same": turns("rejected", "the same as chosen", rejected=say("gpt", "b")),
    "turns that answer already": turns(
        "conversations[1].from", "the last turn is no question", conversations=[*ASKED, say("gpt", "b")]
    ),
    "no turns to answer": turns("conversations", "empty", conversations=[]),
    "turns with a tag": turns("kto_tag", "for preference", kto_tag=True),
    # the same as OpenAI writes it
    "chosen message is text": chat("chosen", "text ('b'), not a turn", chosen="b"),
    "chosen message of a user": chat(
        "chosen.role", "'user', and 'assistant' is expected", chosen={"role": "user", "content": "b"}
    ),
    "chosen message of parts": chat(
        "chosen.content[0]",
        "a part of the type 'refusal'",
        chosen={"role": "assistant", "content": [{"type": "refusal"}]},
    ),
    "rejected message is empty": chat("rejected.content", "empty", rejected={"role": "assistant", "content": ""}),
    "rejected message is null": chat("rejected.content", "null", rejected={"role": "assistant", "content": None}),
    "rejected message with a weight": chat(
        "rejected.weight", "must not be trained on", rejected={"role": "assistant", "content": "c", "weight": 0}
    ),
    "messages that answer already": chat(
        "messages[1].role",
        "the last turn is no question",
        messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    ),
    "OpenAI's own names": Bad(
        "records",
        [{"input": {"messages": []}, "preferred_output": [], "non_preferred_output": [], "chosen": 1}],
        1,
        "messages",
        "missing",
        "openai",
    ),
    # liked or not
    "tag alone": Bad("records", [{"kto_tag": True}], 1, "instruction", "missing"),
    "no tag": Bad(
        "records", [{"instruction": "a", "output": "b", "kto_tag": True}, {"instruction": "a", "output": "b"}], 2,
        "kto_tag", "missing",
    ),
    "tag of an empty answer": liked("output", "empty", output=" "),
    "tag of another name": liked("label", "for kto", label=True),
    "a tag after an untagged row": Bad(
        "records",
        [{"instruction": "a", "output": "b", "kto_tag": tag} for tag in (None, False)],
        2,
        "kto_tag",
        "for sft",
    ),
    "a completion of turns": Bad(
        "records",
        [{"messages": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}],
        1,
        "completion",
        "the last turn of the conversation",
    ),
    "tag and two answers": liked("chosen", "for kto", chosen="b"),
    "tag of turns that end with a question": Bad(
        "records", [{"conversations": ASKED, "kto_tag": True}], 1, "conversations[0].from", "not the assistant's"
    ),
    "tag in a CSV": Bad("a.csv", "instruction,output,kto_tag\na,b,true\n", 1, "kto_tag", "text ('true')"),
    "tag in JSON, in quotes": Bad(
        "a.jsonl", '{"instruction": "a", "output": "b", "kto_tag": "true"}\n', 1, "kto_tag", "text ('true')"
    ),
    "tag given twice": Bad(
        "a.jsonl", '{"instruction": "a", "output": "b", "kto_tag": true, "kto_tag": false}\n', 1, "kto_tag", "twice"
    ),
    # text
    "text with a title": text({"text": "a", "title": "b"}, "title", "no such field"),
    "text under another name": text({"content": "a"}, "text", "missing"),
    "a question among text": text({"instruction": "a", "output": "b"}, "text", "missing"),
    "text is the row": text("Il était une fois", "", "not an object"),
    "text given twice": Bad("a.jsonl", '{"text": "a"}\n{"text": "b", "text": "c"}\n', 2, "text", "given twice"),
    "text among questions": Bad(
        "records", [{"instruction": "a", "output": "b"}, {"text": "c"}], 2, "instruction", "missing"
    ),
    "a pair among questions": Bad(
        "records", [{"instruction": "a", "output": "b"}, {"instruction": "a", "chosen": "b", "rejected": "c"}], 2,
        "output", "missing",
    ),
}  # fmt: skip
