# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad rows: what a row is, fields of alpaca, conversations, messages."""

from __future__ import annotations

from ansible_collections.ia_homelab.llamafactory.tests.support.bad_data import (
    GOOD,
    TOOL,
    Bad,
    alpaca,
    call,
    chat,
    say,
    turns,
)

#: A tool with a required whole number.
SCHEMA = {
    "name": "f",
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
ROWS: dict[str, Bad] = {
    # what a row is
    "row is text": alpaca("x", "", "text ('x'), not an object"),
    "row is null": alpaca(None, "", "null, not an object"),
    "row is a number": alpaca(3, "", "a number (3), not an object"),
    "row is a list": alpaca(["a", "b"], "", "a list of 2, not an object"),
    "row is empty": alpaca({}, "instruction", "missing"),
    # fields of alpaca
    "no output": alpaca({"instruction": "a"}, "output", "missing"),
    "no instruction": alpaca({"input": "a", "output": "b"}, "instruction", "missing"),
    "output is a number": alpaca({"instruction": "a", "output": 42}, "output", "a number (42), not text"),
    "output is a float": alpaca({"instruction": "a", "output": 1.5}, "output", "a number (1.5), not text"),
    "output is true": alpaca({"instruction": "a", "output": True}, "output", "a boolean (true), not text"),
    "output is null": alpaca({"instruction": "a", "output": None}, "output", "null, not text"),
    "output is a list": alpaca({"instruction": "a", "output": ["b"]}, "output", "a list of 1, not text"),
    "output is an object": alpaca({"instruction": "a", "output": {"b": 1}}, "output", "an object, not text"),
    "output is a huge number": alpaca({"instruction": "a", "output": 10**5000}, "output", "a huge one"),
    "output is empty": alpaca({"instruction": "a", "output": ""}, "output", "empty"),
    "output is blank": alpaca({"instruction": "a", "output": " \n\t"}, "output", "empty"),
    "instruction is a number": alpaca({"instruction": 1, "output": "b"}, "instruction", "a number (1), not text"),
    "instruction is null": alpaca({"instruction": None, "output": "b"}, "instruction", "null, not text"),
    "instruction is empty": alpaca({"instruction": "", "output": "b"}, "instruction", "empty"),
    "instruction and input are blank": alpaca(
        {"instruction": " ", "input": "\n", "output": "b"}, "instruction", "empty"
    ),
    "input is a list": alpaca({"instruction": "a", "input": [], "output": "b"}, "input", "a list of 0, not text"),
    "system is a number": alpaca({"instruction": "a", "output": "b", "system": 0}, "system", "a number (0), not text"),
    "misspelt output": alpaca({"instruction": "a", "ouput": "b", "output": "b"}, "ouput", "no such field"),
    "unknown field": alpaca({**GOOD, "id": "1"}, "id", "no such field"),
    "field of a preference": alpaca({**GOOD, "chosen": "x"}, "chosen", "preference data"),
    "field of a picture": alpaca({**GOOD, "images": ["x"]}, "images", "not trained on here"),
    "field of another format": alpaca(
        {**GOOD, "messages": [say("a", "b")]}, "messages", "does not belong to the format alpaca"
    ),
    "tools in alpaca": alpaca({**GOOD, "tools": [TOOL]}, "tools", "has no tools"),
    "question of turns": alpaca({"instruction": [say("human", "a")], "output": "b"}, "instruction", "turns of a conv"),
    "label that is no tag": alpaca({**GOOD, "label": "positive"}, "label", "neither true nor false"),
    "label that is a tag": alpaca({**GOOD, "label": True}, "label", "LLaMA-Factory calls kto_tag"),
    "answer of another name": alpaca({"instruction": "a", "completion": "b"}, "output", "it is called 'completion'"),
    "field without a name": alpaca({**GOOD, "": "x"}, "(empty)", "no such field"),
    "NUL in output": alpaca({"instruction": "a", "output": "b\0c"}, "output", "a NUL character"),
    "NUL in instruction": alpaca({"instruction": "\0", "output": "b"}, "instruction", "a NUL character"),
    "half a pair in output": alpaca({"instruction": "a", "output": "b\ud83d"}, "output", "(U+D83D) at character 2"),
    "half a pair in system": alpaca({**GOOD, "system": "\udc00"}, "system", "(U+DC00) at character 1"),
    "history is text": alpaca({**GOOD, "history": "a"}, "history", "not a list"),
    "history of texts": alpaca({**GOOD, "history": ["a", "b"]}, "history[0]", "not a pair"),
    "history of three": alpaca({**GOOD, "history": [["a", "b", "c"]]}, "history[0]", "not a pair"),
    "history of one": alpaca({**GOOD, "history": [["a", "b"], ["a"]]}, "history[1]", "not a pair"),
    "history of numbers": alpaca({**GOOD, "history": [["a", 2]]}, "history[0][1]", "a number (2), not text"),
    "history without an answer": alpaca({**GOOD, "history": [["a", ""]]}, "history[0][1]", "empty"),
    # conversations
    "no conversations": Bad("records", [{"system": "s"}], 1, "conversations", "missing", "sharegpt"),
    "conversations are text": Bad("records", [{"conversations": "a"}], 1, "conversations", "not a list", "sharegpt"),
    "conversations are empty": turns(field="conversations", what="empty"),
    "turn is text": turns("a", ("gpt", "b"), field="conversations[0]", what="not an object"),
    "turn without role": turns({"value": "a"}, ("gpt", "b"), field="conversations[0].from", what="missing"),
    "turn without text": turns({"from": "human"}, ("gpt", "b"), field="conversations[0].value", what="missing"),
    "turn with a number": turns(("human", "a"), ("gpt", 1), field="conversations[1].value", what="a number (1)"),
    "turn with null": turns(("human", None), ("gpt", "b"), field="conversations[0].value", what="null"),
    "turn is empty": turns(("human", "a"), ("gpt", ""), field="conversations[1].value", what="empty"),
    "role of another format": turns(("user", "a"), ("gpt", "b"), field="conversations[0].from", what="no role 'user'"),
    "role is a number": turns((1, "a"), ("gpt", "b"), field="conversations[0].from", what="a number (1), not text"),
    "role in capitals": turns(("Human", "a"), ("gpt", "b"), field="conversations[0].from", what="no role 'Human'"),
    "answer first": turns(("gpt", "b"), ("human", "a"), field="conversations[0].from", what="it is the first"),
    "two questions": turns(
        ("human", "a"), ("human", "b"), ("gpt", "c"), field="conversations[1].from", what="'human' comes before it"
    ),
    "two answers": turns(
        ("human", "a"), ("gpt", "b"), ("gpt", "c"), field="conversations[2].from", what="'gpt' comes before it"
    ),
    "ends with a question": turns(
        ("human", "a"), ("gpt", "b"), ("human", "c"), field="conversations[2].from", what="not the assistant's"
    ),
    "only a question": turns(("human", "a"), field="conversations[0].from", what="not the assistant's"),
    "only a system prompt": turns(("system", "a"), field="conversations[0].from", what="not the assistant's"),
    "system in the middle": turns(
        ("human", "a"), ("system", "s"), ("gpt", "b"), field="conversations[1].from", what="only at the beginning"
    ),
    "two system prompts": turns(
        ("system", "s"), ("human", "a"), ("gpt", "b"), field="system", what="differs", system="other"
    ),
    "unknown key of a turn": turns(
        {**say("human", "a"), "score": 1}, ("gpt", "b"), field="conversations[0].score", what="no such key"
    ),
    "picture in a turn": turns(
        {**say("human", "a"), "images": ["x"]}, ("gpt", "b"), field="conversations[0].images", what="not trained on"
    ),
    "history of turns": turns(
        ("human", "a"), ("gpt", "b"), history=[["a", "b"]], field="history", what="only the form"
    ),
    "observation without a call": turns(
        ("human", "a"),
        ("gpt", "b"),
        ("observation", "o"),
        ("gpt", "c"),
        field="conversations[2].from",
        what="'gpt' comes before it",
    ),
    "call is not JSON": turns(
        ("human", "a"), ("function_call", "f(1)"), field="conversations[1].value", what="a call is JSON"
    ),
    "call without arguments": turns(
        ("human", "a"),
        ("function_call", '{"name": "f"}'),
        field="conversations[1].value",
        what="the name or the arguments of the call are missing",
    ),
    "call of nothing": turns(
        ("human", "a"), ("function_call", "[]"), field="conversations[1].value", what="it contains no call"
    ),
    "half a pair in a turn": turns(
        ("human", "\ud800"), ("gpt", "b"), field="conversations[0].value", what="half of a surrogate pair"
    ),
    "NUL in a turn": turns(("human", "a"), ("gpt", "\0"), field="conversations[1].value", what="a NUL character"),
    "tools are not JSON": turns(("human", "a"), ("gpt", "b"), tools="f()", field="tools", what="not JSON"),
    "tools are an object": turns(("human", "a"), ("gpt", "b"), tools='{"name": "f"}', field="tools", what="not a list"),
    "tool without a name": turns(("human", "a"), ("gpt", "b"), tools=[{}], field="tools[0].name", what="null"),
    "tool whose parameters are no schema": turns(
        ("human", "a"),
        ("gpt", "b"),
        tools=[{"name": "f", "parameters": {"title": "a"}}],
        field="tools[0].parameters",
        what="no JSON schema",
    ),
    "tool is text": turns(("human", "a"), ("gpt", "b"), tools=[TOOL, "f"], field="tools[1]", what="not an object"),
    "tool with infinity": turns(
        ("human", "a"),
        ("gpt", "b"),
        tools=[{**TOOL, "x": float("inf")}],
        field="tools",
        what="cannot be written as JSON",
    ),
    # OpenAI's messages
    "message is text": chat("a", ("assistant", "b"), field="messages[0]", what="not an object"),
    "message without role": chat({"content": "a"}, ("assistant", "b"), field="messages[0].role", what="missing"),
    "role of sharegpt": chat(("human", "a"), ("assistant", "b"), field="messages[0].role", what="no role 'human'"),
    "role function": chat(
        ("user", "a"), ("function", "b"), ("assistant", "c"), field="messages[1].role", what="no role 'function'"
    ),
    "message without content": chat(("user", "a"), {"role": "assistant"}, field="messages[1].content", what="missing"),
    "content is null": chat(("user", "a"), ("assistant", None), field="messages[1].content", what="null, not text"),
    "content is empty": chat(("user", ""), ("assistant", "b"), field="messages[0].content", what="empty"),
    "content of two parts": chat(
        ("user", [{"type": "text", "text": "a"}] * 2), ("assistant", "b"), field="messages[0].content", what="2 parts"
    ),
    "content of a picture": chat(
        ("user", [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]),
        ("assistant", "b"),
        field="messages[0].content[1]",
        what="a part of the type 'image_url'",
    ),
    "content of a part with more": chat(
        ("user", [{"type": "text", "text": "a", "extra": "b"}]),
        ("assistant", "b"),
        field="messages[0].content[0]",
        what="no part of text",
    ),
    "content of texts": chat(("user", ["a"]), ("assistant", "b"), field="messages[0].content[0]", what="no part of"),
    "content of no parts": chat(("user", []), ("assistant", "b"), field="messages[0].content", what="empty"),
    "message with the weight 0": chat(
        ("user", "a"),
        {"role": "assistant", "content": "b", "weight": 0},
        field="messages[1].weight",
        what="must not be trained on",
    ),
    "message with half a weight": chat(
        ("user", "a"),
        {"role": "assistant", "content": "b", "weight": 0.5},
        field="messages[1].weight",
        what="a weight is 0 or 1",
    ),
    "message with a boolean weight": chat(
        ("user", "a"),
        {"role": "assistant", "content": "b", "weight": True},
        field="messages[1].weight",
        what="a boolean (true)",
    ),
    "message with a name": chat(
        {"role": "user", "content": "a", "name": "x"}, ("assistant", "b"), field="messages[0].name", what="no such key"
    ),
    "assistant first": chat(("assistant", "a"), field="messages[0].role", what="it is the first"),
    "two users": chat(
        ("user", "a"), ("user", "b"), ("assistant", "c"), field="messages[1].role", what="'user' comes before it"
    ),
    "ends with a user": chat(
        ("user", "a"), ("assistant", "b"), ("user", "c"), field="messages[2].role", what="not the assistant's"
    ),
    "ends with a tool": chat(
        ("user", "a"),
        call(name="f", arguments="{}"),
        ("tool", "b"),
        field="messages[2].role",
        what="not the assistant's",
    ),
    "system at the end": chat(
        ("user", "a"), ("assistant", "b"), ("system", "s"), field="messages[2].role", what="only at the beginning"
    ),
    "tool without a call": chat(
        ("user", "a"),
        ("assistant", "b"),
        ("tool", "c"),
        ("assistant", "d"),
        field="messages[2].role",
        what="comes before",
    ),
    "text after a call": turns(
        ("human", "a"),
        ("function_call", '<tool_call>{"name": "f", "arguments": {}}</tool_call> Voilà.'),
        field="conversations[1].value",
        what="a text after a call",
    ),
    "call that does not end": turns(
        ("human", "a"),
        ("function_call", 'Je cherche. <tool_call>{"name": "f", "arguments": {}}'),
        field="conversations[1].value",
        what="does not end with </tool_call>",
    ),
    "call of another tool": turns(
        ("human", "a"),
        ("function_call", '{"name": "ff", "arguments": {}}'),
        tools=[TOOL],
        field="conversations[1].value",
        what="the row has no tool 'ff'",
    ),
    "argument of another type": chat(
        ("user", "a"),
        call(name="f", arguments='{"n": "1"}'),
        tools=[SCHEMA],
        field="messages[1].tool_calls[0].function.arguments.n",
        what='it is "1", and the schema of the tool has integer',
    ),
    "argument that is missing": turns(
        ("human", "a"),
        ("function_call", '[{"name": "f", "arguments": {"n": 1}}, {"name": "f", "arguments": "{}"}]'),
        tools=[SCHEMA],
        field="conversations[1].value[1].arguments",
        what="the argument 'n' is missing",
    ),
    "required is true": turns(
        ("human", "a"),
        ("gpt", "b"),
        tools=[{"name": "f", "parameters": {"type": "object", "properties": {"n": {"required": True}}}}],
        field="tools[0].parameters.properties.n.required",
        what="it is true, and not a list of names",
    ),
    "references in a circle": turns(
        ("human", "a"),
        ("gpt", "b"),
        tools=[
            {
                "name": "f",
                "parameters": {
                    "type": "object",
                    "properties": {"n": {"$ref": "#/$defs/a"}},
                    "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}},
                },
            }
        ],
        field="tools[0].parameters.properties.n.$ref",
        what="the references lead in a circle: #/$defs/a → #/$defs/b → #/$defs/a",
    ),
    "tool of that name twice": turns(
        ("human", "a"), ("gpt", "b"), tools=[TOOL, TOOL], field="tools[1]", what="there is a tool 'f' already"
    ),
    "result of no call": chat(
        ("user", "a"),
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "tool_call_id": "c2", "content": "b"},
        ("assistant", "c"),
        field="messages[2].tool_call_id",
        what="no call before it has the id 'c2'",
    ),
    "call without a result": chat(
        ("user", "a"),
        {
            "role": "assistant",
            "tool_calls": [{"id": name, "function": {"name": "f", "arguments": {}}} for name in ("c1", "c2")],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "b"},
        ("assistant", "c"),
        field="messages[1].tool_calls[0].function.arguments",
        what="the call 'c1' of f has no result",
    ),
    "more results than calls": turns(
        ("human", "a"),
        ("function_call", '{"name": "f", "arguments": {}}'),
        ("observation", "b"),
        ("observation", "c"),
        ("gpt", "d"),
        field="conversations[3]",
        what="there are more results than the 1 call before them",
    ),
    "result of another tool": chat(
        ("user", "a"),
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "tool_call_id": "c1", "name": "g", "content": "b"},
        ("assistant", "c"),
        field="messages[2].name",
        what="it is the result of f, and names g",
    ),
    "call without a name": chat(
        ("user", "a"), call(arguments="{}"), field="messages[1].tool_calls[0].function", what="no name"
    ),
    "arguments are not JSON": chat(
        ("user", "a"),
        call(name="f", arguments="{x"),
        field="messages[1].tool_calls[0].function.arguments",
        what="not JSON",
    ),
    "arguments are a list": chat(
        ("user", "a"),
        call(name="f", arguments="[1]"),
        field="messages[1].tool_calls[0].function.arguments",
        what="not an object",
    ),
    "calls are an object": chat(
        ("user", "a"),
        {"role": "assistant", "tool_calls": {"function": {}}},
        field="messages[1].tool_calls",
        what="not a list",
    ),
    # only dates (a good conversation before it would hold something else)
    "conversations of dates": Bad(
        "records",
        [{"conversations": [say("human", "2024-01-01"), say("gpt", "2024-01-02 10:00")]}],
        None,
        "value",
        "is a date and nothing else",
        "sharegpt",
    ),
}
