# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docker_host_info reports, with stand-ins for the programs and for the files of the kernel."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import docker_host
from ansible_collections.ia_homelab.llamafactory.tests.support import modules

DOCKER = r"""#!/bin/sh
case "$*" in
"info "*) printf 'WARNING: No swap limit support\n' >&2; printf '29.1.3\tinactive\n' ;;
"ps --filter label=ia-homelab.job "*) echo "run-7-train" ;;
"ps --all "*) printf '%s\n' "run-7-train ia-homelab.job=1,a=b" "homeassistant org.x=y" "plain " "ia_homelab-test " ;;
"compose version --short") echo v2.40.3 ;;
"image inspect --format {{.Id}} ours:1") echo sha256:aaa ;;
"image inspect "*) echo "Error: No such image" >&2; exit 1 ;;
"images --no-trunc --quiet --filter reference=a --filter reference=b") printf 'sha256:bbb\nsha256:aaa\nsha256:bbb\n' ;;
*) exit 9 ;;
esac
"""
DPKG = r"""#!/bin/sh
for name; do :; done
case $name in
docker-ce) printf 'installed 5:29.1.3-1~debian' ;;
docker-buildx-plugin) printf 'config-files 0.1' ;;
*) echo "no packages found" >&2; exit 1 ;;
esac
"""
TOOLKIT = r"""#!/bin/sh
case "$*" in
--version) echo "NVIDIA Container Toolkit CLI version 1.20.2"; echo "commit: abc" ;;
"cdi list") echo 'time="x" level=info msg="Found 2 CDI devices"' >&2; printf 'nvidia.com/gpu=0\nnvidia.com/gpu=all\n' ;;
esac
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in the PATH, but for what system.run adds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def add(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def write(root: Path, name: str, content: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_a_host_with_everything(programs: Path, tmp_path: Path) -> None:
    for name, text in (("docker", DOCKER), ("dpkg-query", DPKG), ("nvidia-ctk", TOOLKIT)):
        add(programs, name, text)
    write(tmp_path, "record.json", '{"packages": ["docker-ce"]}')
    found = modules.call(
        "docker_host_info",
        {
            "packages": ["docker-ce", "docker-buildx-plugin", "docker-compose-plugin"],
            "pins": {"docker-ce": "5:29.1.*", "docker-compose-plugin": "2.40.*"},
            "images": ["ours:1", "theirs:1"],
            "repositories": ["a", "b"],
            "record": str(tmp_path / "record.json"),
        },
    )
    assert not found["changed"]
    assert found["engine"] == {
        "version": "29.1.3",
        "compose": "2.40.3",
        "swarm": False,
        "jobs": ["run-7-train"],
        "other_containers": ["homeassistant", "plain"],
    }
    assert found["installed"] == {"docker-ce": "5:29.1.3-1~debian"}
    assert found["missing"] == ["docker-buildx-plugin", "docker-compose-plugin=2.40.*"]
    assert found["engines"] == ["docker-ce"]
    assert found["images"] == {"ours:1": "sha256:aaa", "theirs:1": ""}
    assert found["repository_images"] == ["sha256:aaa", "sha256:bbb"]
    assert found["toolkit"] == "1.20.2" and found["cdi_devices"] == ["nvidia.com/gpu=0", "nvidia.com/gpu=all"]
    assert found["recorded_packages"] == ["docker-ce"]
    assert found["user_is_root"] == (os.geteuid() == 0)


def test_a_host_with_nothing(programs: Path, tmp_path: Path) -> None:
    found = docker_host.host(["docker-ce"], {}, str(tmp_path))
    assert found["engine"] == {"version": "", "compose": "", "swarm": False, "jobs": [], "other_containers": []}
    assert (found["installed"], found["missing"], found["engines"]) == ({}, ["docker-ce"], [])
    assert (found["gpus"], found["toolkit"], found["cdi_devices"], found["systemd"]) == ([], "", [], False)
    assert found["driver"] == {"version": "", "installed": False, "secure_boot": False, "error": ""}
    assert found["system"] == {"id": "", "version": "", "codename": "", "name": "an unknown system"}
    assert docker_host.image_ids(["a:1"]) == {"a:1": ""}
    assert docker_host.images_of(["a"]) == [] and docker_host.images_of([]) == []
    assert docker_host.recorded_packages("") == docker_host.recorded_packages(str(tmp_path / "none")) == []


def test_an_engine_that_does_not_answer(programs: Path) -> None:
    """The client fills in nothing, ends well, and Compose is there all the same."""
    add(
        programs,
        "docker",
        '#!/bin/sh\ncase "$1" in info) printf "\\t\\n" ;; compose) echo 2.40.3 ;; *) exit 1 ;; esac\n',
    )
    assert docker_host.engine()["version"] == "" and docker_host.engine()["compose"] == "2.40.3"


def test_a_swarm_is_reported(programs: Path) -> None:
    add(programs, "docker", DOCKER.replace("inactive", "active"))
    assert docker_host.engine()["swarm"] is True


def test_another_version_than_the_pinned_one_is_missing(programs: Path) -> None:
    add(programs, "dpkg-query", DPKG)
    installed, missing = docker_host.packages(["docker-ce"], {"docker-ce": "5:28.*"})
    assert installed == {"docker-ce": "5:29.1.3-1~debian"} and missing == ["docker-ce=5:28.*"]
    assert docker_host.packages(["docker-ce"], {"docker-ce": ""})[1] == []


def test_system_gpu_and_driver_are_read_from_files(programs: Path, tmp_path: Path) -> None:
    kernel = os.uname().release
    write(tmp_path, "etc/os-release", 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\nPRETTY_NAME="Debian 13"\n')
    for slot, vendor, kind in (
        ("01", "0x10de", "0x030000"),
        ("02", "0x1002", "0x030000"),
        ("03", "0x10de", "0x040300"),
    ):
        device = f"sys/bus/pci/devices/0000:{slot}:00.0"
        write(tmp_path, f"{device}/vendor", f"{vendor}\n")
        write(tmp_path, f"{device}/class", f"{kind}\n")
        write(tmp_path, f"{device}/device", "0x2684\n")
    write(tmp_path, f"lib/modules/{kernel}/updates/dkms/nvidia.ko.xz", "")
    secure_boot = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    write(tmp_path, secure_boot, b"\x06\0\0\0\x01")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    found = docker_host.host(root=str(tmp_path))
    assert found["system"] == {"id": "debian", "version": "13", "codename": "trixie", "name": "Debian 13"}
    assert found["gpus"] == [{"slot": "0000:01:00.0", "device": "0x2684"}] and found["systemd"]
    assert found["driver"] == {"version": "", "installed": True, "secure_boot": True, "error": ""}
    write(tmp_path, secure_boot, b"\x06\0\0\0\0")
    for line, version in (
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2 14:37:44 UTC 2024\n", "470.256.02"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n", "580.95.05"),
    ):
        write(tmp_path, "proc/driver/nvidia/version", line)
        assert docker_host.driver(str(tmp_path))["version"] == version
    assert not docker_host.driver(str(tmp_path))["secure_boot"]


def test_what_nvidia_smi_prints_is_reported_only_if_it_fails(programs: Path) -> None:
    add(programs, "nvidia-smi", "#!/bin/sh\necho NVIDIA L40S\n")
    assert docker_host.driver()["error"] == ""
    add(programs, "nvidia-smi", "#!/bin/sh\necho 'Driver/library version mismatch' >&2; exit 18\n")
    assert docker_host.driver()["error"] == "Driver/library version mismatch"


def test_the_driver_of_the_cdi_description_is_reported(programs: Path, tmp_path: Path) -> None:
    assert docker_host.cdi_driver_version(str(tmp_path)) == ""
    write(tmp_path, "etc/cdi/nvidia.yaml", "mounts:\n- hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.570.86.15\n")
    assert docker_host.host(root=str(tmp_path))["cdi_driver"] == "570.86.15"
    write(tmp_path, "etc/cdi/nvidia.yaml", "mounts:\n- hostPath: /usr/lib/libnvidia-ml.so.1\n")
    assert docker_host.cdi_driver_version(str(tmp_path)) == ""


@pytest.mark.parametrize(
    ("text", "legacy"),
    [
        ('{"packages": ["docker-ce"]}', True),
        ('{"packages": ["docker-ce"], "settings_recorded": true}', False),
        ('{"packages": []}', False),
    ],
)
def test_a_record_of_an_earlier_version_is_recognized(tmp_path: Path, text: str, legacy: bool) -> None:
    (tmp_path / "record.json").write_text(text)
    assert docker_host.record_is_legacy(str(tmp_path / "record.json")) is legacy
    assert docker_host.record_is_legacy(str(tmp_path / "none")) is False


def test_the_sources_of_apt_are_reported(tmp_path: Path, programs: Path) -> None:
    write(tmp_path, "etc/apt/sources.list", "deb [signed-by=/a.gpg] https://x.invalid/deb/$(ARCH) /\n")
    add(programs, "dpkg", "#!/bin/sh\necho amd64\n")
    wanted = {"path": "/etc/apt/sources.list.d/x.sources", "key": "/x.asc", "suite": "/", "text": "Types: deb"}
    found = docker_host.apt_sources({"x": {**wanted, "uri": "https://x.invalid/deb/amd64"}}, False, str(tmp_path))
    assert found["x"]["source"] == "/etc/apt/sources.list:1"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"packages": "docker"}', '{"packages": [1]}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str, programs: Path) -> None:
    record = tmp_path / "record.json"
    record.write_text(text)
    with pytest.raises(StoreError, match="is not a record"):
        docker_host.recorded_packages(str(record))
    failed: dict[str, t.Any] = modules.call("docker_host_info", {"record": str(record)})
    assert failed["failed"] and "Remove it" in failed["hint"]
