# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPUs of a host a training sees: exactly as many as it declares.

LLaMA-Factory starts a process for every GPU that it sees, and divides the rows among them: with another number of GPUs
the result would be another.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import NotReadyError
from ..runners.command import Container
from ..system.gpus import Gpu, largest

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_CDI_ALL = "nvidia.com/gpu=all"


def launch_environment(count: int, distributed: bool) -> dict[str, str]:
    """Variables that make LLaMA-Factory start one process for each GPU.

    :param count: number of GPUs.
    :param distributed: whether it starts torchrun in any case: for several hosts, or DeepSpeed.
    """
    env = {"NPROC_PER_NODE": str(count)} if count > 1 or distributed else {}
    # without this it starts a single process if it should see a single GPU, and the result would be another
    return {**env, "FORCE_TORCHRUN": "1"} if count > 1 else env


def assigned(
    count: int, env: t.Mapping[str, str], isolation: Container | None, gpus: t.Sequence[Gpu]
) -> tuple[dict[str, str], Container | None]:
    """Variables for a process on the host, and the container, with a number of GPUs.

    :param env: as for :func:`host_environment`; :param gpus: likewise.
    :param isolation: the container; None for a process on the host.
    :raises NotReadyError: if there are fewer.
    """
    if isolation is None:
        return host_environment(count, env, gpus), None
    return {}, dataclasses.replace(isolation, gpus=container_devices(count, isolation.gpus, gpus))


def host_environment(count: int, env: t.Mapping[str, str], gpus: t.Sequence[Gpu]) -> dict[str, str]:
    """Variables that limit a process on the host to a number of GPUs.

    :param env: its environment; a list of GPUs in it is shortened.
    :param gpus: GPUs that the driver reports; empty if it reports none.
    :raises NotReadyError: if there are fewer.
    """
    listed = [name.strip() for name in env.get(_VISIBLE, "").split(",") if name.strip()]
    if listed:
        return {_VISIBLE: ",".join(_first(listed, count))}
    if not gpus:
        return {_VISIBLE: ",".join(map(str, range(count)))}
    chosen = _first([gpu.uuid or str(gpu.index) for gpu in largest(gpus, len(gpus))], count)
    # the driver's indexes are those of PCI; those of CUDA are not, by default
    return {_VISIBLE: ",".join(chosen), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def container_devices(count: int, declared: str, gpus: t.Sequence[Gpu]) -> str:
    """The GPUs that a container gets, in the form of :func:`system.docker.gpu_request`.

    :param declared: those that containers may use: ``all``, or names separated by commas.
    :param gpus: GPUs that the driver reports; empty if it reports none.
    :raises NotReadyError: if there are fewer.
    """
    names = [name.strip() for name in declared.split(",") if name.strip()]
    if names not in (["all"], [_CDI_ALL]):
        return ",".join(_first(names, count))
    chosen = _first(largest(gpus, len(gpus)), count) if gpus else []
    if names == [_CDI_ALL]:
        indexes = [gpu.index for gpu in chosen] or list(range(count))
        return ",".join(f"nvidia.com/gpu={index}" for index in indexes)
    return ",".join([gpu.uuid or str(gpu.index) for gpu in chosen] or map(str, range(count)))


_T = t.TypeVar("_T")


def _first(there: t.Sequence[_T], count: int) -> list[_T]:
    if len(there) < count:
        raise NotReadyError("steps.too_few_gpus", wanted=count, there=len(there))
    return list(there[:count])
