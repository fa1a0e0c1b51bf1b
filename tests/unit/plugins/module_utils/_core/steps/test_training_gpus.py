# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exactly as many GPUs as declared, on the host and in containers."""

from __future__ import annotations

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.training_gpus import (
    container_devices,
    host_environment,
    launch_environment,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.gpus import Gpu, largest

SMALL = Gpu(0, "small", 8, 8, "GPU-aa")
LARGE, TWIN = Gpu(1, "large", 24, 1, "GPU-bb"), Gpu(2, "large", 24, 24, "GPU-cc")
GPUS = [SMALL, LARGE, TWIN]


def test_the_largest_come_first_whatever_is_free() -> None:
    assert largest(GPUS, 2) == [LARGE, TWIN]
    assert largest(GPUS, 5) == [LARGE, TWIN, SMALL]
    assert largest([], 1) == []


@pytest.mark.parametrize(
    ("count", "visible", "expected"),
    [
        (1, "", "GPU-bb"),
        (3, "", "GPU-bb,GPU-cc,GPU-aa"),
        # what the environment says is kept, in its order, and shortened
        (1, "2,0", "2"),
        (2, " 2 , 0 ,1", "2,0"),
    ],
)
def test_on_the_host(count: int, visible: str, expected: str) -> None:
    found = host_environment(count, {"CUDA_VISIBLE_DEVICES": visible} if visible else {}, GPUS)
    assert found["CUDA_VISIBLE_DEVICES"] == expected
    assert ("CUDA_DEVICE_ORDER" in found) is not bool(visible)


def test_without_a_list_of_the_driver() -> None:
    """GPUs that share the memory of the machine are not in it."""
    assert host_environment(1, {}, []) == {"CUDA_VISIBLE_DEVICES": "0"}
    assert container_devices(2, "all", []) == "0,1"
    assert container_devices(1, "nvidia.com/gpu=all", []) == "nvidia.com/gpu=0"


@pytest.mark.parametrize(
    ("count", "declared", "expected"),
    [
        (1, "all", "GPU-bb"),
        (2, "all", "GPU-bb,GPU-cc"),
        (1, "0,1", "0"),
        (2, "GPU-aa, GPU-cc", "GPU-aa,GPU-cc"),
        (1, "nvidia.com/gpu=1,nvidia.com/gpu=2", "nvidia.com/gpu=1"),
        (2, "nvidia.com/gpu=all", "nvidia.com/gpu=1,nvidia.com/gpu=2"),
    ],
)
def test_in_a_container(count: int, declared: str, expected: str) -> None:
    assert container_devices(count, declared, GPUS) == expected


def test_too_few() -> None:
    for body in (
        lambda: host_environment(4, {}, GPUS),
        lambda: host_environment(2, {"CUDA_VISIBLE_DEVICES": "0"}, GPUS),
        lambda: container_devices(4, "all", GPUS),
        lambda: container_devices(2, "0", GPUS),
    ):
        with pytest.raises(NotReadyError, match="GPUs, and"):
            body()


def test_processes() -> None:
    assert launch_environment(1, False) == {}
    assert launch_environment(1, True) == {"NPROC_PER_NODE": "1"}
    assert launch_environment(2, False) == {"NPROC_PER_NODE": "2", "FORCE_TORCHRUN": "1"}
