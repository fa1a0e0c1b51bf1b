# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a service of a Compose file requests GPUs. That Compose accepts it is in tests/stack."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.ia_homelab.llamafactory.plugins.filter.compose_gpus import compose_gpus


def device(**more: t.Any) -> dict[str, t.Any]:
    return {"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"], **more}]}}}}


@pytest.mark.parametrize(
    ("syntax", "gpus", "expected"),
    [
        ("deploy", [], device(driver="nvidia", count="all")),
        ("deploy", ["0", "GPU-5f3c"], device(driver="nvidia", device_ids=["0", "GPU-5f3c"])),
        ("cdi", [], device(driver="cdi", device_ids=["nvidia.com/gpu=all"])),
        ("cdi", ["0", "1"], device(driver="cdi", device_ids=["nvidia.com/gpu=0", "nvidia.com/gpu=1"])),
        ("gpus", [], {"gpus": "all"}),
        ("gpus", ["0"], {"gpus": [{"driver": "nvidia", "device_ids": ["0"]}]}),
        ("runtime", [], {"runtime": "nvidia"}),
        ("runtime", ["0"], {"runtime": "nvidia"}),
    ],
)
def test_every_syntax(syntax: str, gpus: list[str], expected: dict[str, t.Any]) -> None:
    assert yaml.safe_load(compose_gpus(syntax, gpus)) == expected


def test_another_syntax_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="'auto' is none of deploy, gpus, cdi, runtime"):
        compose_gpus("auto")
