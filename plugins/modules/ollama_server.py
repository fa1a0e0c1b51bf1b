#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_server
short_description: Run an Ollama server as a plain process
version_added: 0.1.0
description:
  - Starts or stops an Ollama server where systemd does not manage it, in a container or for an ordinary user.
  - The server continues to run after the play, in a session of its own.
  - A record in O(data_dir) identifies the server by process id, start time and boot. One that runs with the declared
    settings is left running; one with other settings is restarted.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  state:
    description:
      - V(started) waits until the server answers.
      - V(stopped) ends it. A server that this module did not start is left running.
    type: str
    choices: [started, stopped]
    default: started
  data_dir:
    description:
      - Directory of its record (C(ollama.pid)) and its log (C(ollama.log)), and its home.
    type: path
    required: true
  binary:
    description:
      - The ollama program. Required for O(state=started). In check mode it may not exist yet.
    type: path
  models_dir:
    description:
      - Directory of the models. Required for O(state=started).
    type: path
  host:
    description:
      - Address that it listens at.
    type: str
    default: 127.0.0.1
  port:
    description:
      - Port that it listens at.
    type: int
    default: 11434
  environment:
    description:
      - Further environment variables of the server, such as C(OLLAMA_KEEP_ALIVE). C(OLLAMA_HOST), C(OLLAMA_MODELS) and
        C(HOME) are refused, because O(host), O(port), O(models_dir) and O(data_dir) decide them.
    type: dict
    default: {}
  start_seconds:
    description:
      - How long it may take to answer after its start, in seconds.
    type: int
    default: 60
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
attributes:
  diff_mode:
    support: full
seealso:
  - module: ia_homelab.llamafactory.ollama_info
  - module: ia_homelab.llamafactory.ollama_install
"""

EXAMPLES = r"""
- name: Run Ollama
  ia_homelab.llamafactory.ollama_server:
    binary: /usr/local/bin/ollama
    data_dir: /home/me/ollama
    models_dir: /home/me/ollama/models
    port: 11435

- name: Stop it
  ia_homelab.llamafactory.ollama_server:
    state: stopped
    data_dir: /home/me/ollama
"""

RETURN = r"""
url:
  description: Where the server is reached from this host.
  returned: when O(state=started)
  type: str
  sample: http://127.0.0.1:11435
started:
  description: Whether a server was started now, or would be in check mode.
  returned: success
  type: bool
  sample: true
version:
  description: Version of the server; empty in check mode.
  returned: when O(state=started)
  type: str
  sample: 0.32.15
"""

import json
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.ports import OLLAMA_PORT
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.ollama_process import (
    OWN_VARIABLES,
    OllamaProcess,
    Settings,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.places import (
    require_program_of_root,
)


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    settings = Settings(
        params["binary"] or "",
        params["data_dir"],
        params["models_dir"] or "",
        params["host"],
        params["port"],
        params["start_seconds"],
        environment(params["environment"]),
    )
    if params["state"] == "started" and not module.check_mode:
        require_program_of_root(params["binary"])
    server = OllamaProcess(settings)
    before = server.running()
    if params["state"] == "stopped":
        changed = bool(before) if module.check_mode else server.stop()
        return {"changed": changed, "started": False, "diff": diff(settings, before, {})}
    changed, version = (server.needs_start(), "") if module.check_mode else server.start()
    return {
        "changed": changed,
        "started": changed,
        "url": settings.url,
        "version": version,
        "diff": diff(settings, before, settings.recorded()),
    }


def environment(declared: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The declared variables as texts.

    :raises InputError: if a variable is decided by another option, or is none.
    """
    for name, value in declared.items():
        if name in OWN_VARIABLES:
            raise InputError("modules.variable_decided", name=name)
        is_scalar = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or not is_scalar or re.search(r"[\n\0]", str(value)):
            raise InputError("modules.not_a_variable", name=name)
    return {name: str(value) for name, value in declared.items()}


def diff(settings: Settings, before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The settings of the server that runs before and after."""
    names = settings.recorded()
    texts = [
        json.dumps({name: value[name] for name in names if name in value}, indent=2, sort_keys=True) + "\n"
        if value
        else ""
        for value in (before, after)
    ]
    return {"before_header": "server", "before": texts[0], "after_header": "server", "after": texts[1]}


def main() -> None:
    run_module(
        {
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "data_dir": {"type": "path", "required": True},
            "binary": {"type": "path"},
            "models_dir": {"type": "path"},
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": OLLAMA_PORT},
            "environment": {"type": "dict", "default": {}},
            "start_seconds": {"type": "int", "default": 60},
        },
        ensure,
        provisions=lambda params: str(params["data_dir"]),
        required_if=[("state", "started", ["binary", "models_dir"])],
    )


if __name__ == "__main__":
    main()
