# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One training at a time on each GPU of the host, whichever data directory and user it belongs to.

The queue of a data directory orders its own trainings only. Each GPU has one lock for the host, which a supervisor
holds from before its training starts until it has ended.
"""

from __future__ import annotations

from ..messages.message import Message
from ..runs.spec import Toolchain
from ..system import gpus
from ..system.environment import clean_environment
from ..system.host_lock import HostLock

#: Name of the lock when the driver does not list its GPUs.
_ANY = "gpu"

#: Selections of all GPUs, of which a training takes those with the most memory (``steps.training_gpus``).
_ALL: tuple[list[str], ...] = ([], ["all"], ["nvidia.com/gpu=all"])


class HostGpus:
    """The locks of the GPUs that a training uses.

    :param tools: select the GPUs; all of them by default.
    :param in_container: whether the training runs in a container.
    :param count: number of GPUs that it uses; None for a training of an earlier version, which uses all of them.
    """

    def __init__(self, tools: Toolchain, in_container: bool, count: int | None = None) -> None:
        environment = {**clean_environment(), **tools.environment}
        self._selection = tools.gpus if in_container else environment.get("CUDA_VISIBLE_DEVICES", "all")
        self._count = count
        #: UUIDs of the GPUs, since the last request; empty when the driver does not list them.
        self.uuids: list[str] = []
        self._locks: list[HostLock] = []

    def request(self) -> Message | None:
        """Acquire the locks of all GPUs of the training, or none of them.

        :returns: description of the training that has to end before; None when the locks are held.
        """
        if not self._locks:
            self.uuids = selected(self._selection, self._count)
            # sorted, so that two trainings never wait for each other
            self._locks = [HostLock(f"gpu/{uuid}") for uuid in self.uuids or [_ANY]]
        for lock in self._locks:
            if not lock.acquire():
                self._release_locks()
                return _describe(lock)
        return None

    def release(self) -> None:
        """Release the locks; no-op if none is held."""
        self._release_locks()
        self._locks = []

    def _release_locks(self) -> None:
        for lock in self._locks:
            lock.release()


def selected(selection: str, count: int | None = None) -> list[str]:
    """Return the UUIDs of the GPUs that a training uses, sorted; those of all GPUs if the selection is not understood.

    :param selection: ``all``, or indexes or UUIDs separated by commas. CDI names and parts of a GPU are not understood.
    :param count: number of GPUs of the selection that it uses; None for all of them.
    """
    uuids = gpus.uuids()
    names = [part.strip() for part in selection.split(",") if part.strip()]
    if names in _ALL and count is not None:
        largest = [gpu.uuid for gpu in gpus.largest(gpus.gpus(), count) if gpu.uuid]
        return sorted(largest if len(largest) == count else uuids.values())
    found: list[str] = []
    for name in names or ["all"]:
        matches = [uuid for index, uuid in uuids.items() if name == index or (len(name) > 4 and uuid.startswith(name))]
        if len(matches) != 1:
            return sorted(uuids.values())
        found += matches
    return sorted(list(dict.fromkeys(found))[:count])


def _describe(lock: HostLock) -> Message:
    holder = lock.holder()
    if holder is None:
        return Message("engine.gpu_of_other_store")
    return Message("engine.gpu_of_other_store_by", pid=holder.pid, user=gpus.user_name(holder.uid))
