# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate the tables of variables in the READMEs of the roles from their argument specs.

Usage: role_readmes.py [--check]. The tables are between the two markers below; the rest is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- Generated from meta/argument_specs.yml by tests/role_readmes.py. -->"
END = "<!-- End of the generated part. -->"
#: Ansible's markup, O(name=value) and the like.
MARK = re.compile(r"\b([OVCMBIEP])\(((?:[^()]|\([^()]*\))*)\)")


def plain(text: str) -> str:
    """Ansible's markup as Markdown."""

    def one(match: re.Match[str]) -> str:
        kind, inside = match.groups()
        if kind == "P":
            inside = inside.partition("#")[0]
        if kind in "BI":
            return f"*{inside}*"
        return f"`{inside.replace('=', ': ', 1) if kind == 'O' else inside}`"

    return MARK.sub(one, text)


def description(option: t.Mapping[str, t.Any]) -> str:
    lines = option["description"]
    return plain(" ".join(lines if isinstance(lines, list) else [lines]))


def default(option: t.Mapping[str, t.Any]) -> str:
    if option.get("required"):
        return "required"
    value = option.get("default")
    if value is None or value == "":
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


def kind(option: t.Mapping[str, t.Any]) -> str:
    value = option.get("type", "str")
    if value == "list" and "elements" in option:
        value = f"list of {option['elements']}"
    if option.get("choices"):
        return " or ".join(
            f"`{json.dumps(choice) if not isinstance(choice, str) else choice}`" for choice in option["choices"]
        )
    return str(value)


def table(options: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[str]:
    lines = ["| variable | type | default | |", "|---|---|---|---|"]
    for name, option in options.items():
        cells = [f"`{name}`", kind(option), default(option), description(option)]
        lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    return lines


def made(role: str) -> str:
    """The generated part of a role's README."""
    text = (ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    options = yaml.safe_load(text)["argument_specs"]["main"].get("options", {})
    lines = [BEGIN, "", *table(options)]
    for name, option in options.items():
        if "options" in option:
            lines += ["", f"Keys of `{name}`:", "", *table(option["options"])]
    return "\n".join([*lines, "", END])


def roles() -> list[str]:
    return sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))


def readme(role: str) -> Path:
    return ROOT / "roles" / role / "README.md"


def renewed(role: str) -> str:
    """The README with an updated generated part.

    :raises ValueError: if the markers are missing.
    """
    text = readme(role).read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{readme(role)}: write these two lines where the variables belong:\n{BEGIN}\n{END}")
    before, rest = text.split(BEGIN)
    return before + made(role) + rest.split(END)[1]


def main() -> int:
    stale = [role for role in roles() if renewed(role) != readme(role).read_text(encoding="utf-8")]
    if "--check" in sys.argv[1:]:
        for role in stale:
            print(
                f"{readme(role)} is not what meta/argument_specs.yml says: run tests/role_readmes.py", file=sys.stderr
            )
        return 1 if stale else 0
    for role in stale:
        readme(role).write_text(renewed(role), encoding="utf-8")
        print(readme(role))
    return 0


if __name__ == "__main__":
    sys.exit(main())
