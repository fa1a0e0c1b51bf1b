# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NVIDIA Container Toolkit is installed and pinned, and containers get the device that CDI describes."""

from __future__ import annotations

import json
import typing as t

PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)


def test_four_packages_have_one_version(host: t.Any) -> None:
    assert len({host.package(name).version for name in PACKAGES}) == 1


def test_real_toolkit_lists_the_device(host: t.Any) -> None:
    assert "NVIDIA Container Toolkit CLI version" in host.check_output("nvidia-ctk --version")
    assert "nvidia.com/gpu=all" in host.check_output("nvidia-ctk cdi list 2>&1")


def test_repository_trusts_only_its_own_key(host: t.Any) -> None:
    source = host.file("/etc/apt/sources.list.d/nvidia-container-toolkit.sources").content_string
    assert "Signed-By: /etc/apt/keyrings/nvidia-container-toolkit.asc" in source


def test_container_gets_the_device(host: t.Any) -> None:
    config = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert config == {"live-restore": True, "features": {"cdi": True}}
    run = "docker run --rm --network none {} ia-homelab-test/shell /bin/sh -c nvidia-smi"
    assert host.check_output(run.format("--device nvidia.com/gpu=all")).startswith("GPU 0: stand-in")
    assert host.run(run.format("")).rc != 0
