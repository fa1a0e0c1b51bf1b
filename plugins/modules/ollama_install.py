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
      - V(archive) installs the official archive, which supports GPUs (1.2 GB to download).
      - V(go) builds the engine for the CPU, which takes 5 to 15 minutes.
    type: str
    choices: [archive, go]
    required: true
  archive:
    description:
      - The archive for this machine. Required for O(method=archive).
    type: dict
    suboptions:
      url:
        description: Where it is downloaded from; a tar file compressed with zstd (C(.zst)) or gzip.
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
      - Directory of the component C(headers) of M(ia_homelab.llamafactory.toolchain). Required for O(method=go).
    type: path
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
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError, RemoteError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import (
    ollama_install,
    ollama_programs,
    places,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.workspace import Workspace


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    if params["method"] == "archive":
        component = ollama_programs.archive_component(params["tools_dir"], params["archive"]["sha256"])
    else:
        component = ollama_programs.source_component(params["tools_dir"], params["version"])
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
        raise NotReadyError(
            f"Building Ollama {params['version']} needs Go 1.21 or newer, which is not on this host.",
            "Install Go, or use the archive.",
        )
    if not os.path.isdir(params["headers_dir"]):
        raise NotReadyError(
            f"{params['headers_dir']} does not exist.", "Install the component headers with the module toolchain first."
        )
    return ollama_install.install_from_source(workspace, params["version"], go, params["headers_dir"])


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
            "allow_unavailable": {"type": "bool", "default": False},
        },
        ensure,
        provisions=places.works_in,
        prepare=give_tools,
        required_if=[("method", "archive", ["archive"]), ("method", "go", ["headers_dir"])],
    )


if __name__ == "__main__":
    main()
