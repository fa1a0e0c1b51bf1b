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
  - With O(record), what is added and what is replaced is recorded, and O(undo) gives back what was replaced.
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
      - With O(undo), this is used only if there is no O(record).
    type: dict
    default: {}
  record:
    description:
      - File in which the module records which settings it has added and replaced, with their former values. Only root
        should be able to write it.
    type: path
  adopt:
    description:
      - Whether settings of O(merge) that the file has already are recorded as added. For a file that an earlier version
        of this collection, which kept no record, has changed.
    type: bool
    default: false
  undo:
    description:
      - Undo the changes in O(record). What was added is removed as a whole, and what was replaced is given back. A
        setting that was changed since then is kept.
      - The record is kept; remove it when the engine has been restarted.
    type: bool
    default: false
  restore:
    description:
      - Put back the content of O(backup), for an engine that does not start with the new one. Nothing else is changed.
    type: bool
    default: false
  validate:
    description:
      - Command that validates a file, with V(%s) for its path. In check mode the command may be missing.
      - The default needs Docker Engine 23 or newer.
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
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import make_dirs, write_atomic
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import (
    docker_daemon_config,
    docker_daemon_record,
)

#: The first engine whose dockerd has --validate.
_FIRST_WITH_VALIDATE = "23.0"


def configure(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    # Follow a symbolic link: the file may belong to a configuration repository, and the link must be kept.
    path = os.path.realpath(params["path"])
    raw = read(path)
    if [bool(params["merge"]), params["undo"], params["restore"]].count(True) > 1:
        raise InputError("modules.one_change_of_settings")
    if params["restore"]:
        return restore(module, path, raw)
    before = docker_daemon_config.parse(raw or b"", path)
    known = docker_daemon_record.load(params["record"]) if params["record"] else None
    if params["undo"] and known is not None:
        after = docker_daemon_record.undone(before, known)
    else:
        after = docker_daemon_config.without(before, params["remove"])
    after = docker_daemon_config.merged(after, params["merge"])
    changed = after != before
    text = docker_daemon_config.render(after, raw or b"")
    if changed and after:
        require_startable(module, before, after)
        validate(module, text)
    if not module.check_mode:
        if params["record"] and params["merge"]:
            changes = docker_daemon_record.recorded(known or (), before, after, params["merge"], params["adopt"])
            # Before the file: settings that are recorded and were not changed are recognized by their value.
            if known is None or changes != known:
                make_dirs(os.path.dirname(params["record"]))
                write_atomic(params["record"], docker_daemon_record.render(changes), 0o600)
        if changed:
            publish(module, path, raw, text if after else None)
    old = shown(raw)
    new = old if not changed else (text if after else "")
    return result(path, changed, before, after, old, new)


def result(
    path: str, changed: bool, before: dict[str, t.Any], after: dict[str, t.Any], old: str, new: str
) -> dict[str, t.Any]:
    return {
        "changed": changed,
        "before": before,
        "config": after,
        "diff": {"before": old, "after": new, "before_header": path, "after_header": path},
    }


def read(path: str) -> bytes | None:
    """Content of a file; None if it does not exist."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def shown(raw: bytes | None) -> str:
    """Content of a file as a diff shows it."""
    return "" if raw is None else raw.decode("utf-8", "replace")


def restore(module: AnsibleModule, path: str, raw: bytes | None) -> dict[str, t.Any]:
    """Put back the backup. The engine has run with it, so it is not validated.

    :raises InputError: if there is no backup.
    """
    backup = module.params["backup"]
    former = read(backup) if backup else None
    if former is None:
        raise InputError("modules.no_backup", path=backup or Message("provisioning.empty_path"))
    settings = docker_daemon_config.parse(former, backup)
    changed = raw != (former if settings else None)
    if changed and not module.check_mode:
        if settings:
            replace(path, raw, former)
        elif raw is not None:
            os.unlink(path)
    return result(path, changed, {}, settings, shown(raw), shown(former) if settings else "")


def require_startable(module: AnsibleModule, before: dict[str, t.Any], after: dict[str, t.Any]) -> None:
    """Refuse settings with which the engine does not start, and which ``dockerd --validate`` accepts.

    :raises InputError: if the change causes such a fault, or leaves one where settings are added.
    """
    known = [] if module.params["merge"] else docker_daemon_config.faults(before)
    found = [fault for fault in docker_daemon_config.faults(after) if fault not in known]
    if found:
        raise InputError("modules.configuration_refused", path=module.params["path"], reason=found[0])


def validate(module: AnsibleModule, text: str) -> None:
    """Validate the new content with the engine.

    :raises InputError: if the engine rejects it.
    :raises NotReadyError: if there is no engine, or it is too old to validate a file.
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
    if rc and "unknown flag: --validate" in out + err:
        _rc, version, _err = module.run_command([command[0], "--version"])
        raise NotReadyError(
            "modules.engine_too_old",
            program=command[0],
            version=version.partition("version ")[2].partition(",")[0].strip() or version.strip(),
            minimum=_FIRST_WITH_VALIDATE,
            path=module.params["path"],
        )
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
        replace(path, raw, text.encode("utf-8"))


def replace(path: str, raw: bytes | None, content: bytes) -> None:
    """Replace the content of a file, and keep its mode."""
    write_atomic(path, content, 0o644 if raw is None else os.stat(path).st_mode & 0o777)


def main() -> None:
    run_module(
        {
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "merge": {"type": "dict", "default": {}},
            "remove": {"type": "dict", "default": {}},
            "record": {"type": "path"},
            "adopt": {"type": "bool", "default": False},
            "undo": {"type": "bool", "default": False},
            "restore": {"type": "bool", "default": False},
            "validate": {"type": "str", "default": "dockerd --validate --config-file %s"},
            "pending": {"type": "path"},
            "backup": {"type": "path"},
        },
        configure,
        required_if=[("undo", True, ["record"]), ("adopt", True, ["record"]), ("restore", True, ["backup"])],
    )


if __name__ == "__main__":
    main()
