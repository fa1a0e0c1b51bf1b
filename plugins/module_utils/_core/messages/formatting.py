# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inserts parameters into the text of a message, in the language of the text.

A text is a format string of Python. In addition:

* ``{rows:row|rows}`` is the first word for one and the second for another number.
* ``{size:bytes}`` is a size in decimal units: ``17.9 GB``.
* A list is joined by commas; ``{names:quoted}`` quotes its items, ``{names:join| or }`` joins them by another text, and
  ``{names:join|, | or }`` has another text before the last one.
* ``{place:capital}`` begins with a capital letter.
* ``{problem}`` is the text of a message without its hint, ``{problem.hint}`` the hint alone, ``{problem!s}`` both.
* Measured numbers, ``{loss:.4g}`` and ``{share:.1f}``, have a decimal comma in French. Values of options
  (``{epochs:g}``) are as they are written in an inventory.
* None is empty, and so are blanks at the end of a text, and around a hint: what a text ends with may be optional.
"""

from __future__ import annotations

import re
import string
import typing as t

from .text import Text

ENGLISH, FRENCH = "en", "fr"
#: Specification of a measured number.
_MEASURED = re.compile(r"\+?\.\d[fg]")


class Renderable(t.Protocol):
    """A message that is a parameter of another."""

    def render(self, language: str) -> Text:
        """Return the text in a language."""


def format_text(text: Text, parameters: t.Mapping[str, t.Any], language: str) -> Text:
    """Insert parameters into a text.

    :raises LookupError: if a parameter is missing.
    :raises ValueError: if the text does not suit a parameter.
    """
    formatter = _Formatter(language)
    message, hint = (formatter.vformat(each, (), parameters) for each in text)
    return Text(message.rstrip(" "), hint.strip())


def fields(template: str) -> list[tuple[str, str, str]]:
    """Return name, conversion and specification of each parameter that a text names, in order."""
    parsed = string.Formatter().parse(template)
    return [
        (name, conversion or "", specification or "")
        for _literal, name, specification, conversion in parsed
        if name is not None
    ]


def format_size(size: float, language: str = ENGLISH) -> str:
    """Format a size in bytes for display: ``17.9 GB``, ``12 MB``, ``0.4 MB``; in French ``17,9 Go``."""
    if size >= 1e8:
        text = f"{size / 1e9:.1f} GB"
    else:
        text = f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"
    return text.replace(".", ",").replace("B", "o") if language == FRENCH else text


class _Formatter(string.Formatter):
    def __init__(self, language: str) -> None:
        self._language = language

    def get_field(self, field_name: str, args: t.Sequence[t.Any], kwargs: t.Mapping[str, t.Any]) -> tuple[t.Any, str]:
        name, _dot, attribute = field_name.partition(".")
        value = kwargs[name]
        if attribute:
            if attribute != "hint":
                raise ValueError(f"A text cannot name {field_name}.")
            value = value.render(self._language).hint if _is_message(value) else ""
        return value, name

    def convert_field(self, value: t.Any, conversion: str | None) -> t.Any:
        if conversion == "s":
            if isinstance(value, (list, tuple)):
                return [self.convert_field(item, conversion) for item in value]
            return str(value.render(self._language)) if _is_message(value) else self._plain(value)
        return super().convert_field(value, t.cast(t.Any, conversion))

    def format_field(self, value: t.Any, format_spec: str) -> str:
        if isinstance(value, (list, tuple)):
            items = [repr(item) if format_spec == "quoted" else self._plain(item) for item in value]
            return _join(items, format_spec.split("|")[1:] if format_spec.startswith("join|") else [", "])
        if format_spec == "capital":
            text = self._plain(value)
            return text[:1].upper() + text[1:]
        if format_spec == "bytes":
            return format_size(value, self._language)
        if "|" in format_spec:
            one, _bar, several = format_spec.partition("|")
            is_one = value < 2 if self._language == FRENCH else value == 1
            return one if is_one else several
        if _is_message(value) or value is None:
            value = self._plain(value)
        text = str(super().format_field(value, format_spec))
        return text.replace(".", ",") if self._language == FRENCH and _MEASURED.fullmatch(format_spec) else text

    def _plain(self, value: t.Any) -> str:
        if value is None:
            return ""
        return t.cast(Renderable, value).render(self._language).message if _is_message(value) else str(value)


def _join(items: t.Sequence[str], separators: t.Sequence[str]) -> str:
    between, before_last = separators[0], separators[-1]
    return before_last.join([between.join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _is_message(value: t.Any) -> bool:
    return hasattr(value, "render")
