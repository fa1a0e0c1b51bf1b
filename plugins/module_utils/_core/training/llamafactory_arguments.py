# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks ``extra`` arguments and chat templates against those of the installed LLaMA-Factory.

LLaMA-Factory rejects an unknown key only after half a minute of imports, while it occupies the GPU, and it does not
convert values: a number passed as text would fail in the middle of the training.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import math
import os

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import typing as t

from ..chat_formats import text_arguments
from ..errors import InputError, NotReadyError
from ..json_text import parse_json
from ..messages.message import Message
from ..messages.suggestions import did_you_mean
from ..programs import list_llamafactory_arguments
from .hyperparameters import Hyperparameters

_SECONDS = 120
_PLAIN = {"bool", "int", "float", "str", "None"}


@dataclasses.dataclass(frozen=True)
class LfArguments:
    """Arguments and templates that the installed LLaMA-Factory supports.

    :param arguments: arguments of ``llamafactory-cli train``: name → type annotation as in its source.
    :param templates: names of its chat templates.
    :param version: its version.
    """

    arguments: dict[str, str]
    templates: tuple[str, ...]
    version: str


def program_source() -> str:
    """Source code of the program that prints the arguments; it runs in LLaMA-Factory's own interpreter."""
    loader: t.Any = getattr(list_llamafactory_arguments.__spec__, "loader", None)
    return str(loader.get_source(list_llamafactory_arguments.__name__))


def read_arguments(venv: str) -> LfArguments:
    """Query the LLaMA-Factory in a virtual environment. Takes about half a second; read-only.

    :param venv: directory of the virtual environment; empty when unknown.
    :raises NotReadyError: when LLaMA-Factory is not installed there.
    """
    python = os.path.join(venv, "bin", "python")
    if not venv or not os.path.exists(python):
        place = venv or Message("training.any_known_place")
        raise NotReadyError("training.llamafactory_missing", place=place)
    # -I: keeps the user's packages and the current directory out of the module search path
    try:
        process = subprocess.run(
            [python, "-I", "-c", program_source()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            cwd="/",
        )
        output = process.stdout if process.returncode == 0 else b""
    except (OSError, subprocess.TimeoutExpired):
        output = b""
    return parse(output, venv)


def parse(output: bytes, where: str) -> LfArguments:
    """Parse the output of :func:`program_source`.

    :param output: JSON printed by the program.
    :param where: description of where that LLaMA-Factory is installed, for the message.
    :raises NotReadyError: when the output is not a list of arguments.
    """
    try:
        content = parse_json(output)
        if content["arguments"]:
            return LfArguments(dict(content["arguments"]), tuple(content["templates"]), str(content["version"]))
    except (ValueError, KeyError, TypeError):
        pass
    raise NotReadyError("training.arguments_unreadable", place=where)


def check(hyperparameters: Hyperparameters, installed: str | t.Callable[[], LfArguments]) -> Hyperparameters:
    """Check ``extra`` and ``template`` against the installed LLaMA-Factory. It is queried only when one of them is set.

    :param installed: its virtual environment, or a function that queries it.
    :returns: the same hyperparameters, with the values of ``extra`` converted to the types that LLaMA-Factory expects.
    :raises InputError: for an unknown argument or template, a value of the wrong type, or an argument that changes the
        text of the training so that it cannot be served.
    :raises NotReadyError: when a query is needed and LLaMA-Factory is not installed.
    """
    if not hyperparameters.extra and not hyperparameters["template"]:
        return hyperparameters
    supported = read_arguments(installed) if isinstance(installed, str) else installed()
    if hyperparameters["template"]:
        check_template(str(hyperparameters["template"]), supported)
    extra = check_extra(hyperparameters.extra, supported)
    text_arguments.check(extra, str(hyperparameters["template"] or ""))
    return hyperparameters.with_extra(extra)


def check_template(name: str, supported: LfArguments) -> None:
    """Check that LLaMA-Factory has a chat template of that name.

    :raises InputError: when it does not.
    """
    if name not in supported.templates:
        similar = difflib.get_close_matches(name, supported.templates, n=3)
        hint = did_you_mean(similar) or Message("training.known_templates", names=list(supported.templates))
        raise InputError("training.no_chat_template", version=supported.version, name=name, suggestion=hint)


def check_extra(extra: t.Mapping[str, t.Any], supported: LfArguments) -> dict[str, t.Any]:
    """Check that LLaMA-Factory has these arguments and accepts these values.

    :returns: the arguments, each value converted to the expected type.
    :raises InputError: for the first argument that is unknown or has an invalid value.
    """
    checked = {}
    for name, value in extra.items():
        if name not in supported.arguments:
            similar = difflib.get_close_matches(name, supported.arguments, n=3, cutoff=0.7)
            hint = did_you_mean(similar) or Message("training.see_documentation")
            raise InputError("training.no_argument", version=supported.version, name=name, suggestion=hint)
        checked[name] = _convert(name, value, supported.arguments[name])
    return checked


def _alternatives(annotation: str) -> list[str] | None:
    """The types that a type annotation allows, each as text; None when it cannot be parsed."""

    def flatten(node: ast.expr) -> list[str]:
        if isinstance(node, ast.BinOp):
            return flatten(node.left) + flatten(node.right)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Optional"):
            return [*flatten(node.slice), "None"]
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Union"):
            members = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return [kind for member in members for kind in flatten(member)]
        return [ast.unparse(node)]

    try:
        return flatten(ast.parse(annotation, mode="eval").body)
    except SyntaxError:
        return None


def _convert(name: str, value: t.Any, annotation: str) -> t.Any:
    kinds = _alternatives(annotation) or []
    literals = [kind for kind in kinds if kind.startswith(("Literal[", "typing.Literal["))]
    if literals:
        allowed = ast.literal_eval("(" + literals[0].partition("[")[2][:-1] + ",)")
        if len(allowed) == 1 and isinstance(allowed[0], tuple):
            allowed = allowed[0]
        if value not in allowed:
            raise InputError("training.argument_choice", name=name, allowed=list(allowed), value=value)
        return value
    if not kinds or not set(kinds) <= _PLAIN:
        return value
    for kind in ("bool", "int", "float", "str"):
        if kind in kinds:
            converted = _convert_plain(kind, value)
            if converted is not None:
                return converted
    raise InputError("training.argument_type", name=name, kinds=list(kinds), value=value)


def _convert_plain(kind: str, value: t.Any) -> t.Any:
    """The value converted to a plain type; None when it cannot be converted."""
    if kind == "bool":
        text = str(value).lower() if isinstance(value, (bool, str)) else ""
        return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(text)
    if kind == "str":
        return value if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if kind == "int":
        return int(number) if math.isfinite(number) and number == int(number) else None
    return number
