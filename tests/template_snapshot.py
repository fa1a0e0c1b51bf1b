# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what LLaMA-Factory registers: its chat templates (``_core/chat_formats/llamafactory_templates.py``) and the
models that it names (``_core/base_models/llamafactory_models.py``).

Usage: template_snapshot.py [--check]. Needs ``IA_LF_VENV``, the virtual environment of LLaMA-Factory; takes about 20
seconds. With ``--check``, fails if the files are not what the installed LLaMA-Factory registers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

CORE = Path(__file__).resolve().parents[1] / "plugins" / "module_utils" / "_core"
PROGRAM = CORE / "programs" / "list_llamafactory_templates.py"
SNAPSHOT = CORE / "chat_formats" / "llamafactory_templates.py"
MODELS_PROGRAM = CORE / "programs" / "list_llamafactory_models.py"
MODELS = CORE / "base_models" / "llamafactory_models.py"
_WIDTH = 120

_HEAD = '''\
# SPDX-FileCopyrightText: 2025 the LlamaFactory team
# SPDX-License-Identifier: Apache-2.0
#
# Source: LLaMA-Factory {version} (https://github.com/hiyouga/LLaMA-Factory), src/llamafactory/data/template.py and
# tool_utils.py: the values that these files register, without their code. See THIRD_PARTY.md.
"""The chat templates of LLaMA-Factory {version}, and the texts that describe tools. Written by
``tests/template_snapshot.py`` from the output of ``programs/list_llamafactory_templates.py``, which describes the keys.
"""

from __future__ import annotations

import typing as t

# fmt: off
'''


_MODELS_HEAD = '''\
# SPDX-FileCopyrightText: 2025 the LlamaFactory team
# SPDX-License-Identifier: Apache-2.0
#
# Source: LLaMA-Factory {version} (https://github.com/hiyouga/LLaMA-Factory), src/llamafactory/extras/constants.py: the
# values that this file registers, without its code. See THIRD_PARTY.md.
"""The models that LLaMA-Factory {version} names: their id on the hub, its chat template for them (empty for none), and
whether they take pictures or sound. Written by ``tests/template_snapshot.py``.
"""

from __future__ import annotations

# fmt: off
'''


def dump(venv: str, program: Path = PROGRAM) -> dict[str, t.Any]:
    """The registry of an installed LLaMA-Factory.

    :param venv: its virtual environment.
    :param program: program that prints it.
    :raises subprocess.CalledProcessError: if it is not there, or the program fails.
    """
    completed = subprocess.run(
        [os.path.join(venv, "bin", "python"), "-I", str(program)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )
    found: dict[str, t.Any] = json.loads(completed.stdout)
    return found


def _text(value: str, indent: int, first: int) -> str:
    """A string literal in ASCII; a long one as several lines in parentheses.

    :param indent: columns before the parts; :param first: columns that stand before the literal.
    """
    whole = ascii(value)
    if first + len(whole) + 2 <= _WIDTH:
        return whole
    parts, part = [], ""
    for character in value:
        if indent + 4 + len(ascii(part + character)) + 1 > _WIDTH:
            # break after a space or a line break where there is one, so that words stay whole
            end = max(part.rfind(" "), part.rfind("\n")) + 1 or len(part)
            parts.append(part[:end])
            part = part[end:]
        part += character
    pad = " " * (indent + 4)
    return "(\n" + "".join(f"{pad}{ascii(each)}\n" for each in [*parts, part]) + " " * indent + ")"


def literal(value: t.Any, indent: int = 0, first: int = 0) -> str:
    """A value as Python source, no line longer than 120 characters.

    :param indent: columns before its lines; :param first: columns that stand before it in its first line.
    """
    if isinstance(value, str):
        return _text(value, indent, first)
    whole = ascii(value)
    if not isinstance(value, (list, dict)) or (indent and first + len(whole) + 2 <= _WIDTH):
        return whole
    pad = " " * (indent + 4)
    lines = []
    if isinstance(value, dict):
        for key, each in value.items():
            lines.append(f"{pad}{key!a}: {literal(each, indent + 4, indent + 6 + len(ascii(key)))},\n")
        return "{\n" + "".join(lines) + " " * indent + "}"
    lines = [f"{pad}{literal(each, indent + 4, indent + 4)},\n" for each in value]
    return "[\n" + "".join(lines) + " " * indent + "]"


def source(found: t.Mapping[str, t.Any]) -> str:
    """The content of the snapshot.

    :param found: result of :func:`dump`.
    """
    return (
        _HEAD.format(version=found["version"])
        + f"VERSION = {found['version']!a}\n"
        + f"TOOL_PROMPTS: dict[str, str] = {literal(found['tool_prompts'])}\n"
        + f"TEMPLATES: dict[str, dict[str, t.Any]] = {literal(found['templates'])}\n"
    )


def models_source(found: t.Mapping[str, t.Any]) -> str:
    """The content of the snapshot of models.

    :param found: result of :func:`dump` with :data:`MODELS_PROGRAM`.
    """
    rows = "".join(f"    {name!a}: ({template!a}, {seen!a}),\n" for name, (template, seen) in found["models"].items())
    return (
        _MODELS_HEAD.format(version=found["version"])
        + f"VERSION = {found['version']!a}\n"
        + f"MODELS: dict[str, tuple[str, bool]] = {{\n{rows}}}\n"
    )


def main() -> int:
    """Write the files, or check them."""
    venv = os.environ.get("IA_LF_VENV", "")
    if not venv:
        print("Set IA_LF_VENV to the virtual environment of LLaMA-Factory.")
        return 2
    texts = {SNAPSHOT: source(dump(venv)), MODELS: models_source(dump(venv, MODELS_PROGRAM))}
    if "--check" not in sys.argv[1:]:
        for path, text in texts.items():
            path.write_text(text, encoding="ascii")
        return 0
    stale = [path.name for path, text in texts.items() if not path.exists() or path.read_text("ascii") != text]
    for name in stale:
        print(f"{name} is not what LLaMA-Factory registers: run python tests/template_snapshot.py")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
