# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds in the source the messages that are made, and in a catalogue what their texts name."""

from __future__ import annotations

import ast
import builtins
import re
import string
import typing as t
from pathlib import Path

CODE = re.compile(r"[a-z_]+(\.[a-z0-9_]+)+")
#: Keyword arguments of errors and problems that are no parameters of their message.
NOT_PARAMETERS = {"details", "authenticated", "http_status"}
#: Errors of MCP's library, whose text goes to its client.
_OF_LIBRARIES = {"ToolError", "ResourceError", "ResourceNotFoundError"}


class Site(t.NamedTuple):
    """A call that makes a message.

    :param parameters: names of its keyword arguments; None if some are unknown (``**parameters``).
    """

    place: str
    code: str
    parameters: frozenset[str] | None


def sites(files: t.Iterable[Path], codes: t.Container[str], root: Path) -> t.Iterator[Site]:
    """Find the calls whose first argument is a code of a message.

    :param codes: the codes of the catalogue; other strings of that shape are codes if a call of an error has them.
    """
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            first = node.args[0]
            for code in _constants(first):
                if code in codes or (_makes_message(node) and CODE.fullmatch(code)):
                    names = [keyword.arg for keyword in node.keywords]
                    known = frozenset(name for name in names if name) - NOT_PARAMETERS
                    place = f"{path.relative_to(root)}:{node.lineno}"
                    yield Site(place, code, None if None in names else known)


def texts_without_code(files: t.Iterable[Path], root: Path) -> t.Iterator[str]:
    """Find the places where an error or a message is made of a text instead of a code."""
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args or not _makes_message(node):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if hasattr(builtins, name) or name.startswith("Ansible") or name in _OF_LIBRARIES:
                continue
            first = node.args[0]
            if isinstance(first, ast.JoinedStr) or any(not CODE.fullmatch(text) for text in _constants(first)):
                yield f"{path.relative_to(root)}:{node.lineno}"


def strings(files: t.Iterable[Path]) -> set[str]:
    """Return all string constants of the files."""
    return {
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def names_of(*templates: str) -> frozenset[str]:
    """Return the parameters that a text names."""
    parsed = [item for template in templates for item in string.Formatter().parse(template)]
    return frozenset(name.partition(".")[0] for _literal, name, _specification, _conversion in parsed if name)


def _constants(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return _constants(node.body) + _constants(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _makes_message(node: ast.Call) -> bool:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    return name in ("Message", "NodeLost") or (name.endswith("Error") and name != "FieldError")
