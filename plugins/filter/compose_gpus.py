# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: compose_gpus
short_description: Write the keys with which a service of a Compose file requests GPUs
version_added: 0.1.0
description:
  - Gives YAML text for the service, which has to be indented to its place.
author:
  - ia_homelab contributors (@ia-homelab)
positional: gpus
options:
  _input:
    description:
      - The syntax. V(deploy) is honoured by every Compose v2, V(gpus) by 2.30 and newer, V(cdi) needs devices that are
        described for CDI, V(runtime) the C(nvidia) runtime.
    type: str
    choices: [deploy, gpus, cdi, runtime]
    required: true
  gpus:
    description: Indexes or UUIDs of the GPUs. Empty for all.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show what a service needs for its GPUs
  ansible.builtin.debug:
    msg: "{{ 'deploy' | ia_homelab.llamafactory.compose_gpus(['0']) }}"
"""

RETURN = r"""
_value:
  description: The lines of YAML.
  type: str
"""

import json
import typing as t

from ansible.errors import AnsibleFilterError

_SYNTAXES = ("deploy", "gpus", "cdi", "runtime")


def compose_gpus(syntax: str, gpus: t.Sequence[str] = ()) -> str:
    """The keys of the service.

    :raises AnsibleFilterError: for another syntax.
    """
    if syntax not in _SYNTAXES:
        raise AnsibleFilterError(f"compose_gpus: {syntax!r} is none of {', '.join(_SYNTAXES)}.")
    names = json.dumps([f"nvidia.com/gpu={name}" for name in gpus or ["all"]] if syntax == "cdi" else list(gpus))
    if syntax == "runtime":
        lines = ["runtime: nvidia"]
    elif syntax == "gpus":
        lines = ["gpus:", "  - driver: nvidia", f"    device_ids: {names}"] if gpus else ["gpus: all"]
    else:
        lines = [
            "deploy:",
            "  resources:",
            "    reservations:",
            "      devices:",
            f"        - driver: {'cdi' if syntax == 'cdi' else 'nvidia'}",
            "          capabilities: [gpu]",
            f"          device_ids: {names}" if gpus or syntax == "cdi" else "          count: all",
        ]
    return "\n".join(lines) + "\n"


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"compose_gpus": compose_gpus}
