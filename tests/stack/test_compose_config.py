# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose accepts every variant of the stack and interprets it as intended."""

from __future__ import annotations

import itertools
import json
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).resolve().parents[2] / "roles"
init_plugin_loader()
KINDS = {
    "cpu": {},
    "cuda": {"llamafactory_gpu_syntax": "auto"},
    "cuda with CDI": {"nvidia_docker_cdi": True},
    "cuda by gpus": {"llamafactory_gpu_syntax": "gpus"},
    "cuda by runtime": {"llamafactory_gpu_syntax": "runtime"},
}
GPUS: dict[str, list[str]] = {"all": [], "two": ["0", "GPU-5f3c"]}
SERVICES = {
    "webui": {},
    "webui, api, token": {
        "llamafactory_api": True,
        "llamafactory_api_arguments": {"model_name_or_path": "/data/llamafactory/models/m", "template": "qwen"},
        "llamafactory_token_file": "/etc/token",
    },
    "webui, proxy": {"llamafactory_proxy": True, "llamafactory_proxy_host": "192.0.2.10"},
    "proxy with TLS": {
        "llamafactory_webui": False,
        "llamafactory_proxy": True,
        "llamafactory_proxy_host": "2001:db8::10",
        "llamafactory_proxy_certificate": "/etc/ssl/pc-ia.pem",
        "llamafactory_proxy_certificate_key": "/etc/ssl/pc-ia.key",
    },
    "webui open": {"llamafactory_webui_host": "::", "llamafactory_allow_open_port": True},
}


def render(role: str, template: str, **values: t.Any) -> str:
    """Render a template of a role with its defaults, its variables, and the given ones."""
    loader = DataLoader()
    loader.set_basedir(str(ROLES / role))

    def settings(folder: str) -> dict[str, t.Any]:
        path = ROLES / role / folder / "main.yml"
        value: dict[str, t.Any] = loader.load_from_file(str(path), trusted_as_template=True)
        return value

    variables: dict[str, t.Any] = {
        **settings("defaults"),
        **settings("vars"),
        "role_path": str(ROLES / role),
        "ansible_facts": {},
        "ansible_search_path": [str(ROLES / role)],
        **values,
    }
    text = (ROLES / role / "templates" / template).read_text(encoding="utf-8")
    rendered = Templar(loader=loader, variables=variables).template(trust_as_template(text))
    assert isinstance(rendered, str)
    return rendered


def config(text: str, directory: Path) -> dict[str, t.Any]:
    """The configuration that Compose reads from a file."""
    path = directory / "compose.yml"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["docker", "compose", "--file", str(path), "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{text}"
    assert "ignored" not in done.stderr and "obsolete" not in done.stderr, done.stderr
    value: dict[str, t.Any] = json.loads(done.stdout)
    return value


@pytest.mark.parametrize("services", SERVICES)
@pytest.mark.parametrize(("kind", "gpus"), [*itertools.product(KINDS, GPUS)])
def test_compose_accepts_the_stack(kind: str, gpus: str, services: str, tmp_path: Path) -> None:
    text = render(
        "llamafactory",
        "compose.yml.j2",
        llamafactory_probe={"accelerator": kind.split()[0]},
        llamafactory_ids="990:991",
        llamafactory_gpus=GPUS[gpus],
        llamafactory_file_stats={"results": [{"stat": {"checksum": "0" * 40}}]},
        llamafactory_docker={"engine": {"compose": "2.40.3"}},
        **KINDS[kind],
        **SERVICES[services],
    )
    got = config(text, tmp_path)["services"]
    options = {**KINDS[kind], **SERVICES[services]}
    assert sorted(got) == sorted(
        name
        for name, default in (("webui", True), ("api", False), ("proxy", False))
        if options.get(f"llamafactory_{name}", default)
    )
    for name, service in got.items():
        assert service["restart"] == "on-failure:5"
        assert service["healthcheck"]["test"]
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
        assert service["cap_drop"] == ["ALL"]
        assert all(not volume.get("bind", {}).get("create_host_path", False) for volume in service["volumes"])
        if name == "proxy":
            assert service["network_mode"] == "host"
            assert "ports" not in service
            continue
        assert service["user"] == "990:991"
        assert int(service["shm_size"]) == 8 << 30
        (port,) = service["ports"]
        assert port["host_ip"] == ("::" if services == "webui open" else "127.0.0.1")
        assert port["published"] == ("7860" if name == "webui" else "8001")
        check_gpus(kind, GPUS[gpus], service)
    assert "hf_" not in text


def check_gpus(kind: str, gpus: list[str], service: dict[str, t.Any]) -> None:
    """The GPU is requested in exactly one way, for the chosen GPUs."""
    asked = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    if kind == "cpu":
        assert not asked and "gpus" not in service and "runtime" not in service
    elif kind == "cuda by runtime":
        assert service["runtime"] == "nvidia"
        assert service["environment"]["NVIDIA_VISIBLE_DEVICES"] == (",".join(gpus) or "all")
    elif kind == "cuda by gpus":
        # An older Compose accepts the key and ignores it, so the role refuses it.
        assert "gpus" in service
    elif kind == "cuda with CDI":
        assert asked[0]["driver"] == "cdi"
        assert asked[0]["device_ids"] == [f"nvidia.com/gpu={gpu}" for gpu in gpus or ["all"]]
    else:
        assert asked[0]["driver"] == "nvidia"
        assert asked[0]["capabilities"] == ["gpu"]
        assert asked[0].get("device_ids", []) == gpus
        assert gpus or asked[0]["count"] == -1


def test_proxy_has_a_password_on_every_port() -> None:
    text = render(
        "llamafactory",
        "nginx.conf.j2",
        llamafactory_probe={"accelerator": "cpu"},
        llamafactory_proxy=True,
        llamafactory_proxy_host="192.0.2.10",
    )
    assert "listen 192.0.2.10:7860;" in text
    assert "listen 192.0.2.10:11434;" in text
    assert text.count("auth_basic ") == 1 and "auth_basic off" not in text
    assert text.count("proxy_pass http://127.0.0.1:") == text.count("listen ") == 2
