# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``system``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
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
    "system.user_cannot_run": Text(
        "Jobs run as the user {user}, whom the data directory {data_dir} belongs to, and who cannot run {path}.",
        "'namei -l {path}' shows where the way is closed. Tools and models have to lie where every user can "
        "reach them, not in the home of root.",
    ),
    "system.user_cannot_read": Text(
        "Jobs run as the user {user}, whom the data directory {data_dir} belongs to, and who cannot read {path}.",
        "'namei -l {path}' shows where the way is closed. Tools and models have to lie where every user can "
        "reach them, not in the home of root.",
    ),
    "system.user_cannot_write": Text(
        "Jobs run as the user {user}, whom the data directory {data_dir} belongs to, and who cannot write to {path}.",
        "'namei -l {path}' shows where the way is closed. A link out of the data directory is not followed: "
        "mount the other place there instead.",
    ),
    "system.container_gone": "The container {name} no longer exists.",
    "system.service_not_started": "{name} could not be started again: {reason}",
    "system.service_not_controllable": "What serves {host}:{port} cannot be stopped and started again from here.",
    "system.systemctl_failed": "systemctl {arguments:join| }: {reason}",
}
