# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of the provisioned host: running, also after boot, with existing and declared settings."""

from __future__ import annotations

import json
import typing as t


def test_engine_runs(host: t.Any) -> None:
    assert host.service("docker").is_running
    assert host.service("docker").is_enabled
    assert int(host.check_output("docker version --format '{{.Server.Version}}'").split(".")[0]) >= 24
    assert host.check_output("docker compose version --short").lstrip("v").startswith("2.")


def test_existing_and_declared_settings_apply(host: t.Any) -> None:
    config = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert config == {
        "registry-mirrors": ["https://mirror.invalid"],
        "log-opts": {"max-size": "7m"},
        "live-restore": True,
    }
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["LiveRestoreEnabled"] is True
    assert "https://mirror.invalid/" in info["RegistryConfig"]["Mirrors"]


def test_no_restart_is_pending(host: t.Any) -> None:
    assert not host.file("/etc/docker/.restart-pending").exists
    assert not host.file("/etc/docker/.daemon.json.before").exists
    assert host.check_output("dockerd --validate --config-file /etc/docker/daemon.json 2>&1").endswith("OK")


def test_installed_packages_are_recorded(host: t.Any) -> None:
    noted = json.loads(host.file("/var/lib/ia-homelab/nvidia_docker.json").content_string)
    assert {"docker.io", "docker-ce"} & set(noted["packages"])
