# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments and results that the modules toolchain and toolchain_info share."""

from __future__ import annotations

import typing as t

from .places import requirements_dir
from .toolchain import LOCKS, ORDER, TOOLS, Settings, Toolchain


def toolchain_spec() -> dict[str, t.Any]:
    """The argument spec of the options that decide which directories the toolchain consists of."""
    return {
        "tools_dir": {"type": "path"},
        "llamafactory_data_dir": {"type": "path"},
        "components": {"type": "list", "elements": "str", "choices": list(ORDER), "default": list(TOOLS)},
        "pins": {
            "type": "dict",
            "required": True,
            "options": {name: {"type": "str", "required": True} for name in LOCKS},
        },
        "python": {"type": "str", "default": ""},
        "python_from": {"type": "str", "choices": ["host", "uv"], "default": "host"},
        "accelerator": {"type": "str", "choices": ["auto", "cuda", "cpu"], "default": "auto"},
        "deepspeed": {"type": "bool", "default": False},
        # It may contain a password.
        "torch_index_url": {"type": "str", "default": "", "no_log": True},
    }


def toolchain(params: t.Mapping[str, t.Any]) -> Toolchain:
    """The toolchain that a module's parameters describe."""
    names = ("tools_dir", "pins", "python", "python_from", "accelerator", "deepspeed", "torch_index_url")
    return Toolchain(Settings(**{name: params[name] for name in names}))


def report(found: Toolchain, started_by_root: bool) -> dict[str, t.Any]:
    """What both modules return.

    :param started_by_root: as for :func:`places.requirements_dir`.
    """
    components = {name: component.as_dict() for name, component in found.components.items()}
    return {
        "tools_dir": found.settings.tools_dir,
        "requirements_dir": requirements_dir(found.settings.tools_dir, started_by_root),
        "components": components,
        "toolchain": {
            "llamafactory_venv": components["llamafactory"]["path"],
            "converter_venv": components["converter"]["path"],
            "llama_cpp_dir": components["llama_cpp"]["path"],
            "complete": all(components[name]["complete"] for name in TOOLS),
        },
    }
