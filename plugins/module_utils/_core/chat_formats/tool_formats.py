# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each tool format of LLaMA-Factory writes tools and calls, as Go template source.

The texts around the tools are LLaMA-Factory's (``facts.tool_prompt``); what its classes in ``data/tool_utils.py`` do in
Python stands here as Go: one entry of :func:`_formats` for each class.
"""

from __future__ import annotations

import dataclasses

from ..messages.message import Message
from .facts import CONTENT, TemplateFacts, tool_prompt
from .go_text import JsonPrinter, joined, literal, quoted, string_definition
from .house_format import CALL_WORDS, HOUSE_CLASS, SYSTEM_SEPARATOR, about_tools

#: Columns for each level where LLaMA-Factory indents the JSON of tools.
_INDENT = 4
_PLAIN = JsonPrinter()
_INDENTED = JsonPrinter(_INDENT)
#: Tag in a template whose calls Ollama's generic parser cannot read, or reads wrongly: it never occurs in an answer, so
#: a call stays in the answer as text.
_NO_TAG = "<call of a tool that cannot be read>"

_NAME = '{{ template "s" .Function.Name }}'
_ARGUMENTS = _PLAIN.value(".Function.Arguments")
#: An argument: a text as it is, anything else as JSON.
_RAW_VALUE = '{{ if eq (printf "%T" $v) "string" }}{{ $v }}{{ else }}' + _PLAIN.value("$v") + "{{ end }}"


@dataclasses.dataclass(frozen=True)
class ToolFormat:
    """A tool format.

    :param tools: source of the text about all tools; ``{date}`` in it is replaced by the day of the training.
    :param calls: source of all calls of a message (the dot is the message).
    :param tag: text with which a call begins, for Ollama's generic parser; it leaves out what follows a brace, and
        looks for a brace if nothing is left.
    :param indented: whether the tools are indented JSON.
    :param parser: Ollama's built-in parser that reads these calls, for a model without thoughts; empty for the generic
        parser. It exists in Ollama 0.24 and 0.32.
    :param thinking_parser: the same for a model whose answers begin with a thought; empty for the generic ones.
    :param unread: what of the calls Ollama does not read back, as a clause; None if it reads all.
    """

    tools: str
    calls: str
    tag: str
    indented: bool = False
    parser: str = ""
    thinking_parser: str = ""
    unread: Message | None = None

    def definitions(self) -> str:
        """The definitions that ``tools`` and ``calls`` need."""
        indented = _INDENTED.definitions() if self.indented else ""
        return string_definition() + indented + _PLAIN.definitions()


def _plain_text(text: str) -> str:
    """A text for ``str.format`` without placeholders, formatted."""
    return text.format()


def _around_tools(prompt: str, each: str, **replacements: str) -> str:
    """A prompt of LLaMA-Factory as source.

    :param each: source that takes the place of ``{tool_text}``.
    :param replacements: source that takes the place of other placeholders.
    """
    source = [tool_prompt(prompt)]
    values = {"tool_text": each, **replacements}
    for name in values:
        source = [piece for text in source for piece in _split(text, "{" + name + "}")]
    return "".join(values[piece[1:-1]] if piece[1:-1] in values else literal(_plain_text(piece)) for piece in source)


def _split(text: str, separator: str) -> list[str]:
    """A text cut at a separator, which stays as a piece of its own."""
    before, found, after = text.partition(separator)
    return [before, found, *_split(after, separator)] if found else [text]


def _each_tool(body: str) -> str:
    return f"{{{{ range .Tools }}}}{body}{{{{ end }}}}"


def _list_of_tools(body: str) -> str:
    return joined(".Tools", ", ", body)


def _calls(body: str, separator: str = "\n") -> str:
    return joined(".ToolCalls", separator, body)


def _each_argument(before: str, between: str, after: str) -> str:
    return f"{{{{ range $k, $v := .Function.Arguments }}}}{before}{{{{ $k }}}}{between}{_RAW_VALUE}{after}{{{{ end }}}}"


def _default_tools() -> str:
    """The plain text of LLaMA-Factory's default format: a line for each parameter."""
    several = "[{{ range $i, $each := $v.Type }}{{ if $i }}, {{ end }}'{{ $each }}'{{ end }}]"
    parameter = (
        "  - {{ $k }} ({{ if eq (len $v.Type) 1 }}{{ index $v.Type 0 }}{{ else if $v.Type }}" + several + "{{ end }}"
        "{{ range $r }}{{ if eq . $k }}, required{{ end }}{{ end }}): {{ $v.Description }}"
        "{{ if $v.Enum }}, should be one of [{{ range $i, $e := $v.Enum }}{{ if $i }}, {{ end }}{{ $e }}{{ end }}]"
        "{{ end }}{{ if $v.Items }}, where each item should be "
        '{{ if eq (slice (printf "%T" $v.Items) 0 3) "map" }}{{ with index $v.Items "type" }}{{ . }}{{ end }}{{ end }}'
        "{{ end }}\n"
    )
    tool = (
        "> Tool Name: {{ .Function.Name }}\nTool Description: {{ .Function.Description }}\nTool Args:\n"
        "{{ $r := .Function.Parameters.Required }}{{ range $k, $v := .Function.Parameters.Properties }}"
        + parameter
        + "{{ end }}\n"
    )
    return _around_tools("DEFAULT_TOOL_PROMPT", _each_tool(tool), tool_names=_list_of_tools("{{ .Function.Name }}"))


def _qwen_call(name: str = "arguments") -> str:
    return literal('{"name": ') + _NAME + f', "{name}": {_ARGUMENTS}}}'


def _house_tools(tool: str) -> str:
    before, after = about_tools(CONTENT).split(CONTENT)
    separator = f"{{{{ if $sys }}}}{{{{ {quoted(SYSTEM_SEPARATOR)} }}}}{{{{ end }}}}"
    return separator + literal(before) + _each_tool("\n" + tool) + literal(after)


def _formats() -> dict[str, ToolFormat]:
    function, tool = _PLAIN.function(), _PLAIN.tool()
    xml_calls = _calls(f"<tool_call>\n{_qwen_call()}\n</tool_call>")
    glm4_tool = (
        "\n\n## {{ .Function.Name }}\n\n"
        + _INDENTED.function()
        + "\n在调用上述函数时，请使用 Json 格式表示调用的参数。"
    )
    several = "{{ if gt (len .ToolCalls) 1 }}"
    llama3_calls = f"{several}[{{{{ end }}}}{_calls(_qwen_call('parameters'), ', ')}{several}]{{{{ end }}}}"
    pythonic = (
        '{{ .Function.Name }}({{ $m := "" }}{{ range $k, $v := .Function.Arguments }}{{ $m }}{{ $m = ", " }}{{ $k }}='
        '{{ if eq (printf "%T" $v) "string" }}"{{ $v }}"{{ else }}' + _PLAIN.value("$v") + "{{ end }}{{ end }})"
    )
    return {
        "DefaultToolUtils": ToolFormat(
            tools=_default_tools(),
            calls=_calls(f"Action: {{{{ .Function.Name }}}}\nAction Input: {_ARGUMENTS}"),
            tag="Action:",
            unread=Message("chat_formats.calls_with_name"),
        ),
        "GLM4ToolUtils": ToolFormat(
            tools=_around_tools("GLM4_TOOL_PROMPT", _each_tool(glm4_tool)),
            calls=_calls(f"{{{{ .Function.Name }}}}\n{_ARGUMENTS}"),
            tag=_NO_TAG,
            indented=True,
            parser="passthrough",
            unread=Message("chat_formats.calls_stay_text"),
        ),
        "GLM4MOEToolUtils": ToolFormat(
            tools=_around_tools("GLM4_MOE_TOOL_PROMPT", _each_tool("\n" + tool)),
            calls=_calls(
                "\n<tool_call>{{ .Function.Name }}"
                + _each_argument("\n<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>")
            ),
            tag=_NO_TAG,
            parser="passthrough",
            # the generic parser would leave the </think> of an empty thought in every answer
            thinking_parser="glm-4.7",
            unread=Message("chat_formats.calls_not_closed"),
        ),
        HOUSE_CLASS: ToolFormat(
            tools=_house_tools(tool),
            calls=xml_calls,
            tag=CALL_WORDS[0],
            parser="qwen3",
        ),
        "LFM2ToolUtils": ToolFormat(
            tools=_around_tools("LFM2_TOOL_PROMPT", "[" + _list_of_tools(function) + "]"),
            calls=f"<|tool_call_start|>[{_calls(pythonic, ', ')}]<|tool_call_end|>",
            tag="<|tool_call_start|>",
            parser="lfm2",
            unread=Message("chat_formats.calls_with_quotes"),
        ),
        "LingToolUtils": ToolFormat(
            tools=_around_tools("LING_TOOL_PROMPT", _each_tool("\n" + tool)) + "\ndetailed thinking off",
            calls=xml_calls,
            tag="<tool_call>",
            parser="qwen3",
        ),
        "Llama3ToolUtils": ToolFormat(
            tools=_around_tools("LLAMA3_TOOL_PROMPT", _each_tool(_INDENTED.tool() + "\n\n"), date="{date}"),
            calls=llama3_calls,
            tag='{"name"',
            indented=True,
            unread=Message("chat_formats.calls_not_single"),
        ),
        "MiniMaxM1ToolUtils": ToolFormat(
            tools=_around_tools("MINIMAX_M1_TOOL_PROMPT", _each_tool(function + "\n")),
            calls=f"<tool_calls>\n{_calls(_qwen_call())}\n</tool_calls>",
            tag="<tool_calls>",
        ),
        "MiniMaxM2ToolUtils": ToolFormat(
            tools=_around_tools("MINIMAX_M2_TOOL_PROMPT", _each_tool(f"<tool>{function}</tool>\n")),
            calls=_calls(
                '<invoke name="{{ .Function.Name }}">'
                + _each_argument('\n<parameter name="', '">', "</parameter>")
                + "\n</invoke>"
            ),
            tag=_NO_TAG,
            parser="passthrough",
            unread=Message("chat_formats.calls_stay_text"),
        ),
        "MistralToolUtils": ToolFormat(
            tools=f"[AVAILABLE_TOOLS] [{_list_of_tools(tool)}][/AVAILABLE_TOOLS]",
            calls=f"[{_calls(_qwen_call(), ', ')}]",
            tag="[TOOL_CALLS]",
        ),
        "Qwen35ToolUtils": ToolFormat(
            tools=_around_tools("QWEN35_TOOL_PROMPT", _each_tool("\n" + function)),
            calls=_calls(
                "<tool_call>\n<function={{ .Function.Name }}>"
                + _each_argument("\n<parameter=", ">\n", "\n</parameter>")
                + "\n</function>\n</tool_call>"
            ),
            tag="<tool_call>",
            parser="qwen3-coder",
            thinking_parser="qwen3.5",
        ),
        "QwenToolUtils": ToolFormat(
            tools=_around_tools("QWEN_TOOL_PROMPT", _each_tool("\n" + tool)),
            calls=xml_calls,
            tag="<tool_call>",
            parser="qwen3",
        ),
        "SeedToolUtils": ToolFormat(
            tools=_around_tools("SEED_TOOL_PROMPT", "\n[" + _list_of_tools(tool) + "]"),
            calls=_calls(
                "\n<seed:tool_call>\n<function={{ .Function.Name }}"
                + _each_argument("\n<parameter=", ">", "</parameter>")
                + "\n</function>\n</seed:tool_call>"
            ),
            tag=_NO_TAG,
            parser="passthrough",
            unread=Message("chat_formats.calls_stay_text"),
        ),
    }


_CACHE: dict[str, ToolFormat] = {}


def tool_format(facts: TemplateFacts) -> ToolFormat | None:
    """The tool format of a template; None if there is none that Ollama could write (gemma4)."""
    if not _CACHE:
        _CACHE.update(_formats())
    known = _CACHE.get(facts.calls)
    if known is None or isinstance(facts.tools, str):
        return known if known is None or facts.tools == facts.calls else None
    # a template that puts the JSON of all tools between two texts (phi4_mini)
    before, _content, after = "".join(facts.tools).partition(CONTENT)
    return dataclasses.replace(known, tools=f"{literal(before)}[{_list_of_tools(_PLAIN.tool())}]{literal(after)}")


def uses_date(facts: TemplateFacts) -> bool:
    """Whether the text about tools contains the day of the training."""
    found = tool_format(facts)
    return found is not None and "{date}" in found.tools


def with_date(source: str, date: str) -> str:
    """The source about tools with the day of the training.

    :param date: as LLaMA-Factory writes it, ``%d %b %Y`` in English, such as ``05 Mar 2026``.
    """
    return source.replace("{date}", date)


def unread_calls(facts: TemplateFacts) -> Message | None:
    """What Ollama does not read back of the calls of a template, as a clause; None if it reads all."""
    found = tool_format(facts)
    return Message("chat_formats.calls_stay_text") if found is None else found.unread
