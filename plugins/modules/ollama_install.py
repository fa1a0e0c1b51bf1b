#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_install
short_description: Install a pinned Ollama below a directory of tools
version_added: 0.1.0
description:
  - Installs Ollama from its official archive, whose digest is checked, or builds it from source with Go.
  - Nothing outside of O(tools_dir) is changed, and no server is started.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  tools_dir:
    description:
      - Directory to install into. Ollama has a directory below it that is named after what it is made from.
    type: path
    required: true
  version:
    description:
      - Version of Ollama.
    type: str
    required: true
  method:
    description:
      - V(archive) installs the official archive, which supports GPUs (1.2 to 1.4 GB to download).
      - V(go) builds the Go module of this version, which supports only the CPU and takes 2 to 15 minutes. From version
        0.30 on, the programs of the component C(llama_server) are installed beside it. They are too new for the
        versions 0.30.0 to 0.32.5, which are refused.
    type: str
    choices: [archive, go]
    required: true
  archive:
    description:
      - The archive for this machine. Required for O(method=archive).
    type: dict
    suboptions:
      url:
        description:
          - Where it is downloaded from; a tar file compressed with zstd (C(.zst)) or gzip. C(file://) names one on the
            host.
        type: str
        required: true
      sha256:
        description: Digest that the file must have.
        type: str
        required: true
  go:
    description:
      - Path of a Go of version 1.21 or newer for O(method=go). Empty to look for one.
    type: str
    default: ""
  builder_dir:
    description:
      - Directory of the component C(builder) of M(ia_homelab.llamafactory.toolchain), which decompresses C(.zst).
    type: path
    required: true
  headers_dir:
    description:
      - Directory of the component C(headers) of M(ia_homelab.llamafactory.toolchain). Required for O(method=go) and
        versions before 0.30.
    type: path
  llama_cpp_pins:
    description:
      - The source of llama.cpp, as O(ia_homelab.llamafactory.toolchain#module:pins) has it. Required for O(method=go)
        and versions from 0.30 on, whose component C(llama_server) must be installed.
    type: str
    default: ""
  allow_unavailable:
    description:
      - With O(method=archive), succeed without an installation if the archive cannot be downloaded; RV(program) is then
        empty, and RV(reason) tells why. Another method can be tried next.
    type: bool
    default: false
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
attributes:
  diff_mode:
    support: none
seealso:
  - module: ia_homelab.llamafactory.ollama_info
  - module: ia_homelab.llamafactory.ollama_server
notes:
  - With O(method=go), the variables E(CGO_CFLAGS), E(CGO_CXXFLAGS), E(GOFLAGS) and E(GOPROXY) are passed to Go.
"""

EXAMPLES = r"""
- name: Build Ollama
  ia_homelab.llamafactory.ollama_install:
    tools_dir: /data/llamafactory/tools
    version: 0.24.0
    method: go
    builder_dir: "{{ tools.components.builder.path }}"
    headers_dir: "{{ tools.components.headers.path }}"

- name: Install the archive that was copied to the host
  ia_homelab.llamafactory.ollama_install:
    tools_dir: /data/llamafactory/tools
    version: 0.32.15
    method: archive
    archive:
      url: file:///srv/ollama-linux-amd64.tar.zst
      sha256: 50539c5fe9bf85887733355098dcdb266b433cb8c73fa180713417e9ed6e42bb
    builder_dir: "{{ tools.components.builder.path }}"
"""

RETURN = r"""
program:
  description: Path of the program; empty if it was not installed.
  returned: success
  type: str
  sample: /data/llamafactory/tools/ollama-0b1c2d3e4f506172/bin/ollama
reason:
  description: Why the archive was not installed; empty if it is.
  returned: success
  type: str
  sample: ""
seconds:
  description: How long the installation took; V(0) if nothing was done.
  returned: success
  type: float
  sample: 324.1
"""

import os
import pathlib
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    InputError,
    NotReadyError,
    RemoteError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import (
    ollama_install,
    ollama_programs,
    places,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.toolchain import (
    llama_server_component,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.workspace import Workspace


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    if params["method"] == "archive":
        component = ollama_programs.archive_component(params["tools_dir"], params["archive"]["sha256"])
    else:
        check_source(params)
        component = ollama_programs.source_component(params["tools_dir"], params["version"], params["llama_cpp_pins"])
    result = {"program": ollama_programs.program_of(component), "reason": "", "seconds": 0.0}
    if component.is_complete():
        return {"changed": False, **result}
    if module.check_mode:
        return {"changed": True, **result}
    workspace = Workspace(pathlib.Path(params["tools_dir"]), component, params["builder_dir"])
    try:
        seconds = install(params, workspace)
    except RemoteError as error:
        if not params["allow_unavailable"]:
            raise
        return {"changed": False, "program": "", "reason": error.message, "seconds": 0.0}
    return {"changed": seconds is not None, **result, "seconds": seconds or 0.0}


def install(params: t.Mapping[str, t.Any], workspace: Workspace) -> float | None:
    """Install with the chosen method.

    :returns: the seconds it took; None if another play has installed it meanwhile.
    """
    if params["method"] == "archive":
        archive = ollama_install.Archive(**params["archive"])
        return ollama_install.install_archive(workspace, params["version"], archive)
    go = ollama_programs.find_go(params["go"])
    if not go.path:
        raise NotReadyError("modules.go_missing", version=params["version"])
    if not ollama_programs.runs_llama_server(params["version"]):
        if not os.path.isdir(params["headers_dir"]):
            raise NotReadyError("modules.headers_missing", directory=params["headers_dir"])
        return ollama_install.install_from_source(workspace, params["version"], go, params["headers_dir"])
    llama_server = llama_server_component(params["tools_dir"], params["llama_cpp_pins"])
    if not llama_server.is_complete():
        raise NotReadyError("modules.llama_server_missing", path=llama_server.path)
    return ollama_install.install_from_source(workspace, params["version"], go, "", llama_server)


def check_source(params: t.Mapping[str, t.Any]) -> None:
    """Refuse to build without what this version is built from.

    :raises InputError: in this case, or if this version cannot be built.
    """
    problem = ollama_programs.source_problem(params["version"])
    if problem is not None:
        raise InputError(problem)
    needed = "llama_cpp_pins" if ollama_programs.runs_llama_server(params["version"]) else "headers_dir"
    if not params[needed]:
        raise InputError("modules.build_option_missing", version=params["version"], option=needed)


def give_tools(module: AnsibleModule) -> None:
    """Give the owner of the directory around it a tools directory that root made there."""
    if not module.check_mode:
        places.give_tools(module.params["tools_dir"])


def main() -> None:
    archive = {"url": {"type": "str", "required": True}, "sha256": {"type": "str", "required": True}}
    run_module(
        {
            "tools_dir": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "method": {"type": "str", "choices": ["archive", "go"], "required": True},
            "archive": {"type": "dict", "options": archive},
            "go": {"type": "str", "default": ""},
            "builder_dir": {"type": "path", "required": True},
            "headers_dir": {"type": "path"},
            "llama_cpp_pins": {"type": "str", "default": ""},
            "allow_unavailable": {"type": "bool", "default": False},
        },
        ensure,
        provisions=places.works_in,
        prepare=give_tools,
        required_if=[("method", "archive", ["archive"])],
    )


if __name__ == "__main__":
    main()
