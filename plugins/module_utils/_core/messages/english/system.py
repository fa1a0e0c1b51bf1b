# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``system``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "system.user_not_become": "This process could not become the user {user}.",
    "system.root_refused": Text(
        "{path} belongs to {user}, and root does not work in the directory of another user.",
        "Run this as the user {user}, or with a module of the collection, which becomes that user.",
    ),
    "system.access_denied_advice": (
        "Jobs run as the owner of the data directory, {user}. Tools, models and other files that jobs use must lie "
        "where this user can reach them, not in the home directory of root. 'namei -l {path}' shows where access is "
        "denied."
    ),
    "system.replaceable_by_owner": Text(
        "{path} belongs to {user}, who could replace {data_dir}, and root would run programs from there.",
        "Choose a directory below directories of root, take the write permission from {path} (chmod go-w), or give "
        "{data_dir} to the user who works there (chown -R USER: {data_dir}).",
    ),
    "system.replaceable_by_others": Text(
        "{path} can be written by other users, who could replace {data_dir}, and root would run programs from there.",
        "Choose a directory below directories of root, take the write permission from {path} (chmod go-w), or give "
        "{data_dir} to the user who works there (chown -R USER: {data_dir}).",
    ),
    "system.helper_silent": "The helper at {path} did not answer {request!r}: {reason}.",
    "system.helper_refused": Text(
        "The helper refused {request!r}: {reason}",
        "Look into 'journalctl -u ia-homelab-helper@*'.",
    ),
    "system.disk_full": Text(
        "The disk is full: {path} could not be written ({free:bytes} free there).",
        "Make room on that filesystem and run again: what was finished before is kept.",
    ),
    "system.not_writable": Text(
        "{path} cannot be written by the user with id {user}: {reason}.",
        "Run as the user the data directory belongs to.",
    ),
    "system.docker_sdk_missing": Text(
        "The Python package docker (the Docker SDK) cannot be imported by {executable}: {reason}.",
        "Install the distribution's package python3-docker on this host, or 'pip install docker' for that interpreter.",
    ),
    "system.invalid_json": Text(
        "{path} is not valid JSON: {reason}.",
        "It was damaged outside of this program: restore it, or move it away and run again.",
    ),
    "system.not_published": "Cannot publish {source} as {target}: {reason}.",
    "system.accelerator_unknown": Text("There is no accelerator {accelerator!r}.", "Declare auto, cuda or cpu."),
    "system.locked": Text(
        "{path} has been locked by another process for {seconds:.0f} seconds.",
        "Find its holder with 'fuser' or 'lsof' on that file.",
    ),
    "system.docker_error": "The Docker engine says: {reason}",
    "system.docker_denied": Text(
        "The Docker engine does not answer at {address}: {reason}",
        "The user of the jobs has to be in the group docker.",
    ),
    "system.docker_unavailable": Text(
        "The Docker engine does not answer at {address}: {reason}",
        "Start it with 'systemctl start docker', and look into 'journalctl -u docker'.",
    ),
    "system.default_socket": "its default socket",
    "system.container_gone": "The container {name} no longer exists.",
    "system.service_not_started": "{name} could not be started again: {reason}",
    "system.service_not_controllable": "What serves {host}:{port} cannot be stopped and started again from here.",
    "system.systemctl_failed": "systemctl {arguments:join| }: {reason}",
}
