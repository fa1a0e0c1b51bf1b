# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go template source: literal text, and JSON as Python writes it.

Ollama's own ways to print a tool or an argument (``{{ .Tools }}``, ``json``) differ from Python's ``json.dumps``, with
which LLaMA-Factory writes them: separators, escaped ``<``, ``>`` and ``&``. So the template prints JSON itself. It uses
only what Ollama 0.24 has: ``printf "%T"`` to tell types apart, ``range`` over a number, recursive ``template``.
"""

from __future__ import annotations

import json

#: Depth down to which an indented printer indents. What is deeper is printed with the indentation of this depth.
MAX_DEPTH = 12

#: A text as a JSON string. Go's ``json`` writes what Python's ``json.dumps(ensure_ascii=False)`` writes, except that it
#: also escapes ``&``, ``<``, ``>`` and the separators U+2028 and U+2029 (226 is their first byte). Where it escapes
#: nothing, its text is taken; else the text is cut at those characters (``$a``: begin of the part, ``$n``: whether the
#: next part is still to begin), and the parts between them are taken without their quotation marks.
_STRING = (
    r'{{ define "s" }}{{ $s := . }}{{ $j := json $s }}{{ if eq (printf "\"%s\"" $s) $j }}{{ $j }}{{ else }}"'
    r"{{ $a := 0 }}{{ $n := false }}{{ range $i := len $s }}{{ $b := index $s $i }}"
    r"{{ if $n }}{{ if or (lt $b 128) (ge $b 192) }}{{ $a = $i }}{{ $n = false }}{{ end }}{{ end }}"
    r'{{ if eq $b 38 60 62 226 }}{{ $c := printf "%.1s" (slice $s $i) }}'
    r'{{ if eq $c "&" "<" ">" "\u2028" "\u2029" }}'
    r"{{ if ne $a $i }}{{ $p := json (slice $s $a $i) }}{{ slice $p 1 (len (slice $p 1)) }}{{ end }}"
    r"{{ $c }}{{ $n = true }}{{ end }}{{ end }}{{ end }}"
    r'{{ if not $n }}{{ $p := json (slice $s $a) }}{{ slice $p 1 (len (slice $p 1)) }}{{ end }}"{{ end }}{{ end }}'
)


def quoted(text: str) -> str:
    """A text as a Go string, for use inside ``{{ }}``."""
    return json.dumps(text, ensure_ascii=False)


def literal(text: str) -> str:
    """A text as Go template source that renders as it is: it neither contains nor completes a delimiter."""
    if "{{" in text or "}}" in text or text.endswith("{"):
        return "{{ " + quoted(text) + " }}"
    return text


def joined(items: str, separator: str, body: str) -> str:
    """Source that renders a body for each item, with a separator between two.

    :param items: source of the list, such as ``.Tools``.
    :param separator: text; :param body: source, in which the dot is an item.
    """
    return f'{{{{ $n := "" }}}}{{{{ range {items} }}}}{{{{ $n }}}}{{{{ $n = {quoted(separator)} }}}}{body}{{{{ end }}}}'


class JsonPrinter:
    """Go templates that print values as ``json.dumps(value, indent=indent, ensure_ascii=False)`` does.

    :param indent: columns for each level; None for one line.

    It defines, at each depth: ``j``, any value; ``q``, a property (``api.ToolProperty``); ``p``, properties by name.
    The names of an indented printer end with the depth, so that both kinds can stand in one template. Keys of mappings
    come sorted, as Go ranges over them; keys of tools and properties come in the order in which the API writes them.
    """

    def __init__(self, indent: int | None = None) -> None:
        self._indent = indent

    # ------------------------------------------------------------------ pieces

    def _name(self, kind: str, depth: int) -> str:
        return kind if self._indent is None else f"{kind}{min(depth, MAX_DEPTH)}"

    def _separator(self, depth: int) -> str:
        return ", " if self._indent is None else ",\n" + " " * (self._indent * depth)

    def _open(self, bracket: str, depth: int) -> str:
        return literal(bracket if self._indent is None else f"{bracket}\n" + " " * (self._indent * depth))

    def _close(self, bracket: str, depth: int) -> str:
        return bracket if self._indent is None else "\n" + " " * (self._indent * (depth - 1)) + bracket

    def value(self, expression: str, depth: int = 1) -> str:
        """Source that prints a value.

        :param expression: source of the value; :param depth: levels it stands in, plus one.
        """
        return f'{{{{ template "{self._name("j", depth)}" {expression} }}}}'

    def _list(self, expression: str, depth: int, item: str) -> str:
        return (
            f"{self._open('[', depth)}{{{{ range $i, $v := {expression} }}}}{{{{ if $i }}}}{self._separator(depth)}"
            f"{{{{ end }}}}{item}{{{{ end }}}}{self._close(']', depth)}"
        )

    def _mapping(self, depth: int, item: str) -> str:
        return (
            f'{{{{ if . }}}}{self._open("{", depth)}{{{{ $f := "" }}}}{{{{ range $k, $v := . }}}}{{{{ $f }}}}'
            f'{{{{ $f = {quoted(self._separator(depth))} }}}}{{{{ template "s" $k }}}}: {item}{{{{ end }}}}'
            f"{self._close('}', depth)}{{{{ else }}}}{{}}{{{{ end }}}}"
        )

    # ------------------------------------------------------------------ definitions

    def definitions(self) -> str:
        """The definitions; those of :func:`string_definition` have to stand before them."""
        depths = [1] if self._indent is None else range(1, MAX_DEPTH + 1)
        return "".join(self._any(depth) + self._property(depth) + self._properties(depth) for depth in depths)

    def _any(self, depth: int) -> str:
        inner = self.value("$v", depth + 1)
        return (
            f'{{{{ define "{self._name("j", depth)}" }}}}{{{{ $t := printf "%T" . }}}}'
            '{{ if eq $t "string" }}{{ template "s" . }}'
            '{{ else if eq $t "map[string]interface {}" "template.templateArgs" }}'
            + self._mapping(depth, inner)
            + "{{ "
            'else if eq $t "[]interface {}" "[]string" }}{{ if . }}' + self._list(".", depth, inner) + "{{ else }}[]"
            "{{ end }}{{ else }}{{ json . }}{{ end }}{{ end }}"
        )

    def _property(self, depth: int) -> str:
        separator = quoted(self._separator(depth))

        def field(key: str, body: str) -> str:
            attribute = key[0].upper() + key[1:]
            return f'{{{{ if .{attribute} }}}}{{{{ $f }}}}{{{{ $f = {separator} }}}}"{key}": {body}{{{{ end }}}}'

        type_text = (
            '{{ if eq (len .Type) 1 }}{{ template "s" (index .Type 0) }}{{ else }}'
            + self._list(".Type", depth + 1, '{{ template "s" $v }}')
            + "{{ end }}"
        )
        alternative = f'{{{{ template "{self._name("q", depth + 2)}" $v }}}}'
        properties = f'{{{{ template "{self._name("p", depth + 1)}" .Properties.ToMap }}}}'
        return (
            f'{{{{ define "{self._name("q", depth)}" }}}}'
            "{{ if or .Type .Description .Enum .Items .AnyOf .Properties .Required }}"
            + self._open("{", depth)
            + '{{ $f := "" }}'
            + field("anyOf", self._list(".AnyOf", depth + 1, alternative))
            + field("type", type_text)
            + field("items", self.value(".Items", depth + 1))
            + field("description", '{{ template "s" .Description }}')
            + field("enum", self.value(".Enum", depth + 1))
            + field("properties", properties)
            + field("required", self.value(".Required", depth + 1))
            + self._close("}", depth)
            + "{{ else }}{}{{ end }}{{ end }}"
        )

    def _properties(self, depth: int) -> str:
        inner = f'{{{{ template "{self._name("q", depth + 1)}" $v }}}}'
        return f'{{{{ define "{self._name("p", depth)}" }}}}{self._mapping(depth, inner)}{{{{ end }}}}'

    # ------------------------------------------------------------------ tools

    def function(self, depth: int = 1) -> str:
        """Source that prints the function of a tool (the dot is an ``api.Tool``)."""
        inner = self._separator(depth + 1)
        parameters = (
            self._open("{", depth + 1)
            + '"type": {{ template "s" .Function.Parameters.Type }}'
            + f'{{{{ if .Function.Parameters.Defs }}}}{inner}"$defs": '
            + self.value(".Function.Parameters.Defs", depth + 2)
            + f'{{{{ end }}}}{{{{ if .Function.Parameters.Required }}}}{inner}"required": '
            + self.value(".Function.Parameters.Required", depth + 2)
            + f'{{{{ end }}}}{inner}"properties": '
            + f'{{{{ template "{self._name("p", depth + 2)}" .Function.Parameters.Properties }}}}'
            + self._close("}", depth + 1)
        )
        outer = self._separator(depth)
        return (
            self._open("{", depth)
            + f'"name": {{{{ template "s" .Function.Name }}}}{{{{ if .Function.Description }}}}{outer}"description": '
            + f'{{{{ template "s" .Function.Description }}}}{{{{ end }}}}{outer}"parameters": '
            + parameters
            + self._close("}", depth)
        )

    def tool(self, depth: int = 1) -> str:
        """Source that prints a tool with its type (the dot is an ``api.Tool``)."""
        return (
            self._open("{", depth)
            + '"type": "function"'
            + self._separator(depth)
            + '"function": '
            + self.function(depth + 1)
            + self._close("}", depth)
        )


def string_definition() -> str:
    """The definition of ``s``, which prints a text as a JSON string."""
    return _STRING
