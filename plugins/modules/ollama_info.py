#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_info
short_description: Report the Ollama programs and the Ollama server of a host
version_added: 0.1.0
description:
  - Reports which Ollama programs are installed, what building one needs, and what runs a server.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  tools_dir:
    description:
      - Directory that M(ia_homelab.llamafactory.ollama_install) installs into.
      - If it is not set, C(tools) in O(llamafactory_data_dir), unless root runs the module and there are no tools yet;
        then C(/opt/ia-homelab/tools).
    type: path
  llamafactory_data_dir:
    description:
      - Directory of models, datasets, outputs and jobs. It decides about O(tools_dir) if that is not set.
    type: path
  version:
    description:
      - Version of Ollama to look for.
    type: str
    required: true
  archives:
    description:
      - The official archives by machine (C(x86_64), C(aarch64)), each with C(url) and C(sha256).
    type: dict
    default: {}
  llama_cpp_pins:
    description:
      - The source of llama.cpp, as O(ia_homelab.llamafactory.toolchain#module:pins) has it. From version 0.30 on, it is
        a part of the name of the directory that is built with C(go).
    type: str
    default: ""
  url:
    description:
      - Base URL of the server, as seen from the host.
    type: str
    default: http://127.0.0.1:11434
  data_dir:
    description:
      - Data directory of the server of M(ia_homelab.llamafactory.ollama_server).
    type: path
    required: true
  jobs_dir:
    description:
      - Data directory of the fine-tunes (C(llamafactory_data_dir)), to report whether the server yields to a training.
        Without it, nothing is reported.
    type: path
  service_name:
    description:
      - Name of the systemd unit to look for.
    type: str
    default: ollama
  go:
    description:
      - Path of the Go to build with. Empty to look for one.
    type: str
    default: ""
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
seealso:
  - module: ia_homelab.llamafactory.ollama_install
  - module: ia_homelab.llamafactory.ollama_server
  - module: ia_homelab.llamafactory.ollama_model_info
"""

EXAMPLES = r"""
- name: Look for Ollama
  ia_homelab.llamafactory.ollama_info:
    tools_dir: /data/llamafactory/tools
    data_dir: /data/llamafactory/ollama
    version: 0.24.0
  register: ollama
"""

RETURN = r"""
tools_dir:
  description: Directory in which the tools are, or will be.
  returned: success
  type: str
  sample: /opt/ia-homelab/tools
methods:
  description:
    - By method, V(archive) and V(go), the directory that M(ia_homelab.llamafactory.ollama_install) installs into
      (C(path)), the C(program) in it, and whether it is C(complete).
  returned: success
  type: dict
installed:
  description: The program in O(tools_dir) to use; empty if there is none. That of the archive takes precedence.
  returned: success
  type: str
  sample: /data/llamafactory/tools/ollama-0b1c2d3e4f506172/bin/ollama
other:
  description: A program elsewhere on the host. It is looked for only if RV(installed) is empty.
  returned: success
  type: dict
  contains:
    path:
      description: Its path; empty if there is none.
      type: str
      sample: /usr/local/bin/ollama
    version:
      description: Its version.
      type: str
      sample: 0.32.15
llama_server:
  description: Whether models run in llama.cpp's C(llama-server), which V(go) needs as a component of the toolchain.
  returned: success
  type: bool
  sample: true
source_problem:
  description: Why this version cannot be built with C(go); empty if it can.
  returned: success
  type: str
  sample: ""
machine:
  description: Machine of the host, by which O(archives) is searched.
  returned: success
  type: str
  sample: x86_64
archive:
  description: The one of O(archives) for this machine; empty if there is none.
  returned: success
  type: dict
go:
  description: A Go that builds this version, with C(path) (empty if there is none), C(version) and C(toolchain).
  returned: success
  type: dict
  sample: {path: /usr/bin/go, version: "1.24", toolchain: go1.26.0+auto}
has_compilers:
  description: Whether a C and a C++ compiler are installed.
  returned: success
  type: bool
  sample: true
server_version:
  description: Version of the server that answers at O(url); empty if none does.
  returned: success
  type: str
  sample: 0.32.15
lease:
  description:
    - The training to which the server at O(url) yields. C(name) is that of the fine-tune. C(policy) is V(stop) if the
      server is stopped, V(cpu) if it runs without a GPU. C(kind) is V(unit), V(container) or V(process).
    - The server runs again as before when the training has ended.
    - Empty if it yields to no training, or without O(jobs_dir).
  returned: success
  type: dict
  sample: {}
unit:
  description: Who wrote the systemd unit O(service_name), V(role) or V(other); V(none) if there is no such unit.
  returned: success
  type: str
  sample: none
drop_ins:
  description: What the drop-ins of that unit set, in the order in which systemd reads them.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: File that sets it.
      type: str
      sample: /etc/systemd/system/ollama.service.d/override.conf
    name:
      description: Name of an environment variable, or C(ExecStart), C(User) or C(Group).
      type: str
      sample: OLLAMA_HOST
    value:
      description: Its value.
      type: str
      sample: 0.0.0.0
open_address:
  description:
    - The setting, as in RV(drop_ins), because of which other machines can reach the server of that unit. It can also
      be in the unit itself, if RV(unit) is V(other). Empty if there is none.
  returned: success
  type: dict
  sample: {}
process:
  description: The record of the server that M(ia_homelab.llamafactory.ollama_server) started; empty if it does not run.
  returned: success
  type: dict
  sample: {}
user_is_root:
  description: Whether the module runs as root.
  returned: success
  type: bool
  sample: false
has_apt:
  description: Whether the system installs packages with apt.
  returned: success
  type: bool
  sample: true
systemd:
  description: Whether systemd is the init of the host.
  returned: success
  type: bool
  sample: true
"""

import dataclasses
import platform
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.gpu_lease import ollama_lease
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import DEFAULT_URL
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import (
    ollama_programs,
    ollama_units,
    places,
    system,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.ollama_process import (
    running_server,
    server_version,
)


def inspect(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    tools_dir = places.tools_dir(params)
    archive = params["archives"].get(platform.machine()) or {}
    programs = ollama_programs.installed(
        tools_dir, params["version"], archive.get("sha256", ""), params["llama_cpp_pins"]
    )
    problem = ollama_programs.source_problem(params["version"])
    other = ollama_programs.Program()
    if not programs["installed"]:
        other = ollama_programs.find_program(params["version"], tools_dir)
    return {
        "changed": False,
        **programs,
        "tools_dir": tools_dir,
        "other": dataclasses.asdict(other),
        "llama_server": ollama_programs.runs_llama_server(params["version"]),
        "source_problem": problem.text if problem is not None else "",
        "machine": platform.machine(),
        "archive": archive,
        "go": dataclasses.asdict(ollama_programs.find_go(params["go"])),
        "has_compilers": ollama_programs.has_compilers(),
        "server_version": server_version(params["url"]),
        "lease": ollama_lease(Layout(params["jobs_dir"]), params["url"]) if params["jobs_dir"] else {},
        **ollama_units.report(params["service_name"]),
        "process": running_server(params["data_dir"]),
        "user_is_root": system.user_is_root(),
        "has_apt": system.has_apt(),
        "systemd": system.runs_systemd(),
    }


def main() -> None:
    run_module(
        {
            "tools_dir": {"type": "path"},
            "llamafactory_data_dir": {"type": "path"},
            "version": {"type": "str", "required": True},
            "archives": {"type": "dict", "default": {}},
            "llama_cpp_pins": {"type": "str", "default": ""},
            "url": {"type": "str", "default": DEFAULT_URL},
            "data_dir": {"type": "path", "required": True},
            "jobs_dir": {"type": "path"},
            "service_name": {"type": "str", "default": "ollama"},
            "go": {"type": "str", "default": ""},
        },
        inspect,
        provisions=lambda _params: "",
    )


if __name__ == "__main__":
    main()
