#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_daemon_config
short_description: Merge settings into Docker's daemon.json
version_added: 0.1.0
description:
  - Adds settings to the file, or removes settings that were added. All other content and its order are preserved.
  - A file that is not plain JSON is refused and not changed. C(dockerd) validates the new content before one rename
    replaces the file.
  - The engine is not restarted; see O(pending).
author:
  - ia_homelab contributors (@ia-homelab)
options:
  path:
    description:
      - Path of the file. It is created if missing.
    type: path
    default: /etc/docker/daemon.json
  merge:
    description:
      - Settings that the file must contain. Objects are merged key by key, list items are appended to the existing
        items (a C(name=value) item replaces an existing item of the same name); any other value replaces the existing
        one.
    type: dict
    default: {}
  remove:
    description:
      - Settings to remove. A setting with a different value belongs to another program and is kept. If the file becomes
        empty, it is removed.
    type: dict
    default: {}
  validate:
    description:
      - Command that validates a file, with V(%s) for its path. In check mode the command may be missing.
    type: str
    default: dockerd --validate --config-file %s
  pending:
    description:
      - Marker file, created before a change is published. The play removes it after it has restarted the engine, so
        that a play that was killed in between restarts the engine the next time.
    type: path
  backup:
    description:
      - File for a backup of the content before a change; V({}) if the file did not exist. The backup is not overwritten
        while O(pending) exists, because the engine has not read any newer content.
    type: path
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
attributes:
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Keep containers running while the engine is restarted
  ia_homelab.llamafactory.docker_daemon_config:
    merge:
      live-restore: true
"""

RETURN = r"""
config:
  description: Content of the file after the change, or the predicted content in check mode.
  returned: success
  type: dict
  sample: {live-restore: true}
before:
  description: Content of the file before the change.
  returned: success
  type: dict
  sample: {}
"""

import os
import shlex
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import make_dirs, write_atomic
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import docker_daemon_config


def configure(module: AnsibleModule) -> dict[str, t.Any]:
    # Follow a symbolic link: the file may belong to a configuration repository, and the link must be kept.
    path = os.path.realpath(module.params["path"])
    try:
        with open(path, "rb") as stream:
            raw = stream.read()
    except FileNotFoundError:
        raw = None
    before = docker_daemon_config.parse(raw or b"", path)
    after = docker_daemon_config.without(before, module.params["remove"])
    after = docker_daemon_config.merged(after, module.params["merge"])
    changed = after != before
    text = docker_daemon_config.render(after, raw or b"")
    if changed and after:
        validate(module, text)
    if changed and not module.check_mode:
        publish(module, path, raw, text if after else None)
    old = "" if raw is None else raw.decode("utf-8", "replace")
    new = old if not changed else (text if after else "")
    return {
        "changed": changed,
        "before": before,
        "config": after,
        "diff": {"before": old, "after": new, "before_header": path, "after_header": path},
    }


def validate(module: AnsibleModule, text: str) -> None:
    """Validate the new content with the engine.

    :raises InputError: if the engine rejects it.
    """
    command = shlex.split(module.params["validate"])
    if not command:
        return
    if module.get_bin_path(command[0]) is None:
        if module.check_mode:
            return
        raise NotReadyError("modules.program_missing", program=command[0])
    trial = os.path.join(module.tmpdir, "daemon.json")
    write_atomic(trial, text, 0o600)
    rc, out, err = module.run_command([word.replace("%s", trial) for word in command])
    if rc:
        raise InputError("modules.configuration_refused", path=module.params["path"], reason=(err or out).strip())


def publish(module: AnsibleModule, path: str, raw: bytes | None, text: str | None) -> None:
    make_dirs(os.path.dirname(path))
    pending, backup = module.params["pending"], module.params["backup"]
    # With two changes and no restart between them, the engine still runs with the settings before the first change.
    if backup and not (pending and os.path.exists(pending) and os.path.exists(backup)):
        write_atomic(backup, b"{}\n" if raw is None else raw, 0o600)
    if pending:
        write_atomic(pending, "The engine has not read its settings yet.\n")
    if text is None:
        os.unlink(path)
    else:
        mode = 0o644 if raw is None else os.stat(path).st_mode & 0o777
        write_atomic(path, text, mode)


def main() -> None:
    run_module(
        {
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "merge": {"type": "dict", "default": {}},
            "remove": {"type": "dict", "default": {}},
            "validate": {"type": "str", "default": "dockerd --validate --config-file %s"},
            "pending": {"type": "path"},
            "backup": {"type": "path"},
        },
        configure,
    )


if __name__ == "__main__":
    main()
