# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the documentation of the options of a fine-tune from their table, ``_core/training/options.py``.

Usage: option_docs.py [--check]. It writes the documentation fragment of the modules, the table of options in the README
of the role ``finetune``, and the documentation fragment of the dataset formats (``_core/datasets/rules/``).
"""

from __future__ import annotations

import json
import sys
import textwrap
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rules import registry  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import options  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (  # noqa: E402
    argument_spec,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.option import Option  # noqa: E402

FORMATS_FRAGMENT = ROOT / "plugins" / "doc_fragments" / "dataset_format.py"
FRAGMENT = ROOT / "plugins" / "doc_fragments" / "hyperparameters.py"
README = ROOT / "roles" / "finetune" / "README.md"
_OTHER_NAMES = "Other names of options, which declarations, modules and requests accept:"
BEGIN = "<!-- Written by tests/option_docs.py. -->"
END = "<!-- End of the options. -->"
_WIDTH = 120
_TYPES = {"text": "str", "list": "list of str"}
_HEAD = '''# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a training. Written by ``tests/option_docs.py`` from the core's table of options."""

from __future__ import annotations


class ModuleDocFragment:
    """Hyperparameters, and options that do not affect the result."""

    DOCUMENTATION = r"""
options:
'''
_FORMATS_HEAD = '''# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The input format of a dataset. Written by ``tests/option_docs.py`` from the core's rules of the formats."""

from __future__ import annotations


class ModuleDocFragment:
    """Input format of the rows."""

    DOCUMENTATION = r"""
options:
  format:
    description:
      - Input format of the rows.
'''
_FORMATS_TAIL = '''      - V(auto) detects the format from the first row.
      - A row for C(dpo) and C(rm) has two answers, C(chosen) and C(rejected). They are texts in V(alpaca). In formats
        with turns each is one turn, and the turns before them end with the question.
      - A row for C(kto) also has C(kto_tag), which is true for a desired answer and false for an undesired one.
      - All rows of a dataset are of the same kind as the first row.
    type: str
    choices: [{choices}]
    default: auto
"""
'''


def fragment() -> str:
    """The documentation fragment: the options of the training."""
    lines = []
    for name, spec in argument_spec("train").items():
        option = options.BY_NAME[name]
        lines += [f"  {name}:", "    description:"]
        for sentence in [option.description, *rules(option, lambda value: f"V({value})")]:
            lines += yaml_text(sentence)
        for key in ("type", "elements", "choices", "aliases", "default"):
            if key in spec:
                lines.append(f"    {key}: {yaml_value(spec[key])}")
    return _HEAD + "\n".join(lines) + '\n"""\n'


def formats_fragment() -> str:
    """The documentation fragment: the input format of a dataset."""
    lines = []
    for name in registry.FORMATS[1:]:
        lines += yaml_text(f"V({name}) {registry.DESCRIPTIONS[name]}")
    return _FORMATS_HEAD + "\n".join(lines) + "\n" + _FORMATS_TAIL.format(choices=", ".join(registry.FORMATS))


def rules(option: Option, mark: t.Callable[[t.Any], str]) -> list[str]:
    """Sentences about the bounds of an option, and about what it applies to.

    :param mark: marks a value as such.
    """
    bounds = [
        f"{words} {mark(f'{bound:.10g}')}"
        for words, bound in (
            ("greater than", option.exclusive_minimum),
            ("at least", option.minimum),
            ("at most", option.maximum),
        )
        if bound is not None
    ]
    text = ", ".join(bounds)
    sentences = [f"{text[0].upper()}{text[1:]}."] if text else []
    if option.explained and option.choices:
        sentences.append(f"One of {enumerate_values(option.choices, mark)}.")
    for noun, values in (("method", option.methods), ("stage", option.stages)):
        if values:
            sentences.append(f"Only for the {noun}{'s' * (len(values) > 1)} {enumerate_values(values, mark)}.")
    return sentences


def enumerate_values(values: t.Sequence[t.Any], mark: t.Callable[[t.Any], str]) -> str:
    """``V(a), V(b) and V(c)``."""
    *most, last = map(mark, values)
    return f"{', '.join(most)} and {last}" if most else last


def yaml_text(text: str) -> list[str]:
    """One item of a description."""
    quote = '"' if ": " in text or text[0] in "\"'[{*&!|>%@`" else ""
    return textwrap.wrap(f"- {quote}{text}{quote}", _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 8)


def yaml_value(value: t.Any) -> str:
    """A value on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_value, value))}]"
    # YAML 1.1 reads these words as booleans
    is_word = isinstance(value, str) and value not in ("on", "off", "yes", "no")
    return value if is_word else json.dumps(value)


def table() -> str:
    """The table of all options in the README, and that of their other names."""
    lines = [BEGIN, "", "| option | type | default | |", "|---|---|---|---|"]
    for option in options.ALL:
        kind = _TYPES.get(option.type, option.type)
        if option.choices:
            kind = ("list of " if option.type == "list" else "") + " or ".join(map(code, option.choices))
        default = "required" if option.required else ""
        if option.default is not None:
            default = code(option.copy_default())
        text = [option.description, *rules(option, code)]
        if option.is_hyperparameter and not option.changes_result:
            text.append("It does not change the result.")
        lines.append(f"| {code(option.name)} | {kind} | {default} | {' '.join(text)} |")
    lines += ["", _OTHER_NAMES, "", "| option | other names |", "|---|---|"]
    lines += [f"| {code(each.name)} | {', '.join(map(code, each.aliases))} |" for each in options.ALL if each.aliases]
    return "\n".join([*lines, "", END])


def code(value: t.Any) -> str:
    """A value as code in Markdown."""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def readme() -> str:
    """The README as it should be.

    :raises ValueError: where the lines are missing between which the table stands.
    """
    text = README.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{README}: write these two lines where the table belongs:\n{BEGIN}\n{END}")
    before, rest = text.split(BEGIN)
    return before + table() + rest.split(END)[1]


def main() -> int:
    """Write the files, or check them."""
    status = 0
    for path, text in ((FRAGMENT, fragment()), (README, readme()), (FORMATS_FRAGMENT, formats_fragment())):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is not up to date: run python tests/option_docs.py", file=sys.stderr)
            status = 1
        else:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))
    return status


if __name__ == "__main__":
    sys.exit(main())
