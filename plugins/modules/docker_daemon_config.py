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
  - Adds settings to the file, or takes away what was added; everything else in it stays, in its order.
  - A file that is not plain JSON is refused and left as it is. The new content is checked by C(dockerd) before it
    takes the place of the old, in one rename.
  - The engine is not restarted; see O(pending).
author:
  - ia_homelab contributors (@ia-homelab)
options:
  path:
    description:
      - The file. It is made where it is missing.
    type: path
    default: /etc/docker/daemon.json
  merge:
    description:
      - What has to be in it. Objects are merged key by key, items of lists are added to those that are there (of two
        C(name=value) items with one name, this one stays); any other value replaces the one that is there.
    type: dict
    default: {}
  remove:
    description:
      - What has to go. What has another value by now is somebody else's and stays. A file that holds nothing any
        more is removed.
    type: dict
    default: {}
  validate:
    description:
      - Command that checks a file, V(%s) for its path. In check mode it may be missing still.
    type: str
    default: dockerd --validate --config-file %s
  pending:
    description:
      - File to be made before a change is published, and to be removed by whoever has restarted the engine. A play
        that was killed in between restarts it the next time.
    type: path
  backup:
    description:
      - File that what was there is kept in before a change; V({}) where there was nothing. As long as O(pending) is
        there it stays as it is, since the engine has read nothing newer.
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
  description: All that the file holds now, or would hold.
  returned: success
  type: dict
  sample: {live-restore: true}
before:
  description: All that it held before.
  returned: success
  type: dict
  sample: {}
"""

import os
import shlex
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _docker_daemon_config
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import make_dirs, write_atomic


def configure(module: AnsibleModule) -> dict[str, t.Any]:
    # A link is followed: its place in a configuration's own repository stays.
    path = os.path.realpath(module.params["path"])
    try:
        with open(path, "rb") as stream:
            raw = stream.read()
    except FileNotFoundError:
        raw = None
    before = _docker_daemon_config.parse(raw or b"", path)
    after = _docker_daemon_config.without(before, module.params["remove"])
    after = _docker_daemon_config.merged(after, module.params["merge"])
    changed = after != before
    text = _docker_daemon_config.render(after, raw or b"")
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
    """Have the engine itself read what is about to be written.

    :raises InputError: when it does not take it.
    """
    words = shlex.split(module.params["validate"])
    if not words:
        return
    if module.get_bin_path(words[0]) is None:
        if module.check_mode:
            return
        raise NotReadyError(f"{words[0]} is not on this host.", "Install Docker Engine first.")
    trial = os.path.join(module.tmpdir, "daemon.json")
    write_atomic(trial, text, 0o600)
    rc, out, err = module.run_command([word.replace("%s", trial) for word in words])
    if rc:
        raise InputError(
            f"The engine does not take the new {module.params['path']}: {(err or out).strip()}",
            "It was left as it is. Change what is declared, or what the file holds already.",
        )


def publish(module: AnsibleModule, path: str, raw: bytes | None, text: str | None) -> None:
    make_dirs(os.path.dirname(path))
    pending, backup = module.params["pending"], module.params["backup"]
    # Of two changes with no restart between them, the settings before the first are those the engine has read.
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
