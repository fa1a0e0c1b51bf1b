# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of Ollama and their drop-ins, as its installer, its documentation and owners write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import ollama_units as u

#: As Ollama's installer writes it.
INSTALLED = """[Unit]
Description=Ollama Service

[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Group=ollama
Environment="PATH=/usr/bin:/bin"

[Install]
WantedBy=default.target
"""
OVERRIDE = "etc/systemd/system/ollama.service.d/override.conf"


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_origin_of_a_unit_is_its_first_line(tmp_path: Path) -> None:
    assert u.unit_origin("ollama", str(tmp_path)) == "none"
    unit = tmp_path / "usr/lib/systemd/system/ollama.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")
    assert u.unit_origin("ollama", str(tmp_path)) == "other"
    override = tmp_path / "etc/systemd/system/ollama.service"
    override.parent.mkdir(parents=True)
    template = Path(__file__).resolve().parents[5] / "roles/ollama/templates/ollama.service.j2"
    override.write_text(template.read_text(encoding="utf-8"))
    assert u.unit_origin("ollama", str(tmp_path)) == "role"


def test_drop_ins_are_reported_in_the_order_of_systemd(tmp_path: Path) -> None:
    write(tmp_path, "usr/lib/systemd/system/ollama.service.d/20.conf", "[Service]\nEnvironment=A=2\n")
    write(tmp_path, "etc/systemd/system/ollama.service.d/30.conf", '[Service]\nEnvironment=A=3 "B=x y"\n')
    write(
        tmp_path,
        "etc/systemd/system/ollama.service.d/20.conf",
        "[Unit]\nEnvironment=A=0\n[Service]\nUser=me\n#Group=x\n",
    )
    write(tmp_path, "run/systemd/system/ollama.service.d/ia-homelab-training.conf", "[Service]\nEnvironment=C=1\n")
    found = u.report("ollama", str(tmp_path))
    folder = "/etc/systemd/system/ollama.service.d"
    assert found["drop_ins"] == [
        {"path": f"{folder}/20.conf", "name": "User", "value": "me"},
        {"path": f"{folder}/30.conf", "name": "A", "value": "3"},
        {"path": f"{folder}/30.conf", "name": "B", "value": "x y"},
    ]
    assert found["unit"] == "none" and found["open_address"] == {}


def test_a_drop_in_that_opens_the_port_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "etc/systemd/system/ollama.service", INSTALLED)
    write(tmp_path, OVERRIDE, '[Service]\nEnvironment="OLLAMA_HOST=0.0.0.0"\n')
    setting = {"path": f"/{OVERRIDE}", "name": "OLLAMA_HOST", "value": "0.0.0.0"}
    assert u.report("ollama", str(tmp_path)) == {"unit": "other", "drop_ins": [setting], "open_address": setting}
    write(tmp_path, OVERRIDE, '[Service]\nEnvironment="OLLAMA_HOST=127.0.0.1:11434" \\\n OLLAMA_KEEP_ALIVE=1h\n')
    found = u.report("ollama", str(tmp_path))
    assert found["open_address"] == {} and found["drop_ins"][1]["value"] == "1h"


def test_a_file_of_variables_and_the_unit_itself_are_read(tmp_path: Path) -> None:
    write(
        tmp_path, "etc/systemd/system/ollama.service", INSTALLED + "\n[Service]\nEnvironmentFile=-/etc/default/ollama\n"
    )
    write(tmp_path, "etc/default/ollama", "# mine\nOLLAMA_HOST='[::]:11434'\n")
    setting = {"path": "/etc/default/ollama", "name": "OLLAMA_HOST", "value": "[::]:11434"}
    assert u.report("ollama", str(tmp_path)) == {"unit": "other", "drop_ins": [], "open_address": setting}


@pytest.mark.parametrize(
    ("value", "is_open"),
    [
        ("0.0.0.0", True), ("0.0.0.0:11434", True), ("[::]:11434", True), ("::", True), (":11434", True),
        ("http://192.168.1.5:80", True), ("ai.lan", True), ("https://ai.lan", True),
        ("", False), ("127.0.0.1", False), ("127.0.0.1:1", False), ("localhost:11434", False), ("[::1]:11434", False),
        ("::1", False), ("http://127.0.0.1:11434", False), ("'127.0.0.1'", False),
    ],
)  # fmt: skip
def test_an_open_address_is_recognized(value: str, is_open: bool) -> None:
    assert u.is_open_address(value) is is_open
