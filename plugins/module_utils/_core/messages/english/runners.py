# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``runners``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "runners.not_permitted": Text("{program} could not be started: {path}: {reason}.", "{advice}"),
    "runners.cannot_read": Text("{program} cannot read {path}: Permission denied.", "{advice}"),
    "runners.container_user_of_root": Text(
        "container_user is {user}, and root owns the data directory and runs its jobs: root would work in directories "
        "that this user can write.",
        "Give the data directory to that user (chown -R), as whom jobs run then, or do not set container_user.",
    ),
    "runners.no_image_named": "{program} could not be started: no image was named for it.",
    "runners.null_byte": "{program} could not be started: {program}: embedded null byte.",
    "runners.image_missing": Text(
        "The Docker engine has no image {image!r}.",
        "Get it with 'docker pull {image}', or provision again with playbooks/site.yml.",
    ),
    "runners.container_not_started": Text("{program} could not be started: {problem}", "{advice}"),
    "runners.size_invalid": Text("{option} is {value!r}, which is no size.", "Write it as 512m or 24g."),
    "runners.not_started": "{program} could not be started: {path}: {reason}.",
    "runners.processes_remain": Text(
        "{count} of the command's processes cannot be ended (pid {pids}).",
        "They wait inside the kernel, for a disk or a GPU that does not answer: a reboot may be needed.",
    ),
    "runners.unknown": Text("There is no runner {runner!r}.", "Known runners: {known}."),
    "runners.container_remains": Text("The container {container} cannot be ended: {problem}", "{advice}"),
    "runners.waits_in_kernel": (
        "It waits inside the kernel, for a disk or a GPU that does not answer: a reboot may be needed."
    ),
    "runners.container_being_removed": "It is still being removed.",
    "runners.no_gpu_for_container": (
        "The engine cannot give a GPU to a container: provision the role ia_homelab.llamafactory.nvidia_docker, or "
        "declare llamafactory_accelerator: cpu."
    ),
    "runners.mount_missing": "A directory that the job needs was moved or removed: run again.",
    "runners.see_journal": "Look into 'journalctl -u docker'.",
}
