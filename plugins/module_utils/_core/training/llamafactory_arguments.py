# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the installed LLaMA-Factory takes: ``extra`` arguments and templates are checked against its own list.

LLaMA-Factory refuses an unknown key only after half a minute of imports, on the GPU's time, and does not convert
what it is given: a number that came as text would fail in the middle of it.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import json
import math
import os
import subprocess
import typing as t

from ..errors import InputError, NotReadyError
from ..programs import list_llamafactory_arguments
from .hyperparameters import Hyperparameters

_SECONDS = 120
_PLAIN = {"bool", "int", "float", "str", "None"}


@dataclasses.dataclass(frozen=True)
class LfArguments:
    """What the installed LLaMA-Factory takes.

    :param arguments: of its ``train``: name → type, as its source writes it.
    :param templates: names of its chat templates.
    :param version: its version.
    """

    arguments: dict[str, str]
    templates: tuple[str, ...]
    version: str


def program() -> str:
    """The source of what prints the arguments, for the interpreter that LLaMA-Factory is installed for."""
    loader: t.Any = getattr(list_llamafactory_arguments.__spec__, "loader", None)
    return str(loader.get_source(list_llamafactory_arguments.__name__))


def read_arguments(venv: str) -> LfArguments:
    """Ask the LLaMA-Factory in a virtual environment. Takes about half a second; changes nothing.

    :raises NotReadyError: when there is none.
    """
    python = os.path.join(venv, "bin", "python")
    if not venv or not os.path.exists(python):
        raise NotReadyError(
            f"LLaMA-Factory is not installed at {venv or 'any known place'}.",
            "Install it with the role ia_homelab.llamafactory.llamafactory, or say where it is (llamafactory_venv).",
        )
    # -I: nothing of the user's, nor of the directory it happens to stand in, gets into the search path
    try:
        done = subprocess.run(
            [python, "-I", "-c", program()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            cwd="/",
        )
        told = done.stdout if done.returncode == 0 else b""
    except (OSError, subprocess.TimeoutExpired):
        told = b""
    return parse(told, venv)


def parse(told: bytes, where: str) -> LfArguments:
    """What :func:`program` has printed.

    :param where: where that LLaMA-Factory is, in words.
    :raises NotReadyError: when it is no list of arguments.
    """
    try:
        found = json.loads(told)
        if found["arguments"]:
            return LfArguments(dict(found["arguments"]), tuple(found["templates"]), str(found["version"]))
    except (ValueError, KeyError, TypeError):
        pass
    raise NotReadyError(
        f"The LLaMA-Factory in {where} does not tell its arguments.",
        "Install it again with the role ia_homelab.llamafactory.llamafactory.",
    )


def check(hyperparameters: Hyperparameters, installed: str | t.Callable[[], LfArguments]) -> Hyperparameters:
    """Check ``extra`` and ``template`` against the installed LLaMA-Factory, which is asked only if there is need.

    :param installed: its virtual environment, or what asks it where it is elsewhere.
    :returns: the same, the values of ``extra`` with the types that LLaMA-Factory expects.
    :raises InputError: for what it does not know.
    :raises NotReadyError: when it has to be asked and is not there.
    """
    if not hyperparameters.extra and not hyperparameters["template"]:
        return hyperparameters
    known = read_arguments(installed) if isinstance(installed, str) else installed()
    if hyperparameters["template"]:
        check_template(str(hyperparameters["template"]), known)
    return hyperparameters.with_extra(check_extra(hyperparameters.extra, known))


def check_template(name: str, known: LfArguments) -> None:
    """See to it that LLaMA-Factory has a chat template of that name.

    :raises InputError: when it has not.
    """
    if name not in known.templates:
        near = difflib.get_close_matches(name, known.templates, n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"It knows: {', '.join(known.templates)}."
        raise InputError(f"LLaMA-Factory {known.version} has no chat template {name!r}.", hint)


def check_extra(extra: t.Mapping[str, t.Any], known: LfArguments) -> dict[str, t.Any]:
    """See to it that LLaMA-Factory has these arguments and takes these values.

    :returns: the arguments, each value with the type that is expected.
    :raises InputError: for the first that it does not have or take.
    """
    checked = {}
    for name, value in extra.items():
        if name not in known.arguments:
            near = difflib.get_close_matches(name, known.arguments, n=3, cutoff=0.7)
            hint = f"Did you mean {' or '.join(near)}?" if near else "Its documentation lists its arguments."
            raise InputError(f"LLaMA-Factory {known.version} has no argument {name!r} (extra).", hint)
        checked[name] = _converted(name, value, known.arguments[name])
    return checked


def _alternatives(annotation: str) -> list[str] | None:
    """The types that a type annotation allows, each as text; None when it is not understood."""

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


def _converted(name: str, value: t.Any, annotation: str) -> t.Any:
    kinds = _alternatives(annotation) or []
    literals = [kind for kind in kinds if kind.startswith(("Literal[", "typing.Literal["))]
    if literals:
        allowed = ast.literal_eval("(" + literals[0].partition("[")[2][:-1] + ",)")
        if len(allowed) == 1 and isinstance(allowed[0], tuple):
            allowed = allowed[0]
        if value not in allowed:
            raise InputError(f"extra.{name} must be one of {', '.join(map(str, allowed))}, not {value!r}.")
        return value
    if not kinds or not set(kinds) <= _PLAIN:
        return value
    for kind in ("bool", "int", "float", "str"):
        if kind in kinds:
            fitting = _fitting(kind, value)
            if fitting is not None:
                return fitting
    raise InputError(f"extra.{name} must be {' or '.join(kinds)}, not {value!r}.")


def _fitting(kind: str, value: t.Any) -> t.Any:
    """The value as a plain type; None when it is none of it."""
    if kind == "bool":
        word = str(value).lower() if isinstance(value, (bool, str)) else ""
        return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(word)
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
