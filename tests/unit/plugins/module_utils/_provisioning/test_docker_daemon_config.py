# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""daemon.json is merged, never overwritten; an invalid file is refused."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import docker_daemon_config as d

#: Settings that the role nvidia_docker adds on a host with a GPU.
WANTED: dict[str, t.Any] = {
    "live-restore": True,
    "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}},
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
}

#: Files as they occur on hosts, and the settings expected in them afterwards.
CORPUS: dict[str, str] = {
    "nothing": "",
    "blanks": " \n\n",
    "empty object": "{}\n",
    "other runtimes": """{
  "runtimes": {"sysbox-runc": {"path": "/usr/bin/sysbox-runc"}, "kata": {"runtimeType": "io.containerd.kata.v2"}},
  "default-runtime": "sysbox-runc"
}""",
    "old nvidia runtime": """{"default-runtime": "nvidia",
 "runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime", "runtimeArgs": []}}}""",
    "mirrors": """{
  "registry-mirrors": ["https://mirror.lan"],
  "insecure-registries": ["registry.lan:5000"]
}
""",
    "features": '{"features": {"containerd-snapshotter": true, "buildkit": true}}',
    "proxies": """{"proxies": {
    "http-proxy": "http://proxy.lan:3128", "https-proxy": "http://proxy.lan:3128", "no-proxy": "*.lan,127.0.0.0/8"
}}""",
    "logs and storage": """{
\t"log-driver": "json-file",
\t"log-opts": {"max-size": "10m", "max-file": "3"},
\t"data-root": "/srv/docker",
\t"storage-opts": ["overlay2.size=20G"]
}""",
    "cgroups": '{"exec-opts": ["native.cgroupdriver=systemd", "isolation=process"]}',
    "addresses": """{
    "default-address-pools": [{"base": "10.200.0.0/16", "size": 24}],
    "dns": ["10.0.0.1"], "bip": "10.199.0.1/24", "mtu": 1400
}""",
    "utf-8": '{"labels": ["site=Zürich"]}',
    "byte order mark": '\ufeff{"debug": false}',
}

BROKEN: dict[str, tuple[bytes, str]] = {
    "comment": (b'{\n  // the mirror\n  "registry-mirrors": []\n}', "line 2, column 3"),
    "hash": (b'# mine\n{"debug": true}', "line 1, column 1"),
    "trailing comma": (b'{"debug": true,}', "column 16"),
    "cut off": (b'{"debug": true', "column 15"),
    "two objects": (b"{}\n{}", "line 2, column 1"),
    "single quotes": (b"{'debug': true}", "line 1, column 2"),
    "a list": (b"[]", "no JSON object"),
    "a word": (b"true", "no JSON object"),
    "key twice": (b'{"runtimes": {}, "debug": true, "runtimes": {}}', "'runtimes' is there twice"),
    "key twice inside": (b'{"log-opts": {"max-size": "1m", "max-size": "2m"}}', "'max-size' is there twice"),
    "no number": (b'{"mtu": NaN}', "NaN"),
    "latin-1": ('{"labels": ["site=Zürich"]}'.encode("latin-1"), "not UTF-8"),
    "too deep": (b'{"a": ' + b"[" * 200_000, ""),
}


def changed(before: dict[str, t.Any], after: dict[str, t.Any]) -> list[str]:
    """Keys, with their parents', whose value is missing or different."""
    keys = []
    for key, value in before.items():
        if key not in after:
            keys.append(key)
        elif isinstance(value, dict) and isinstance(after[key], dict):
            keys += [f"{key}.{name}" for name in changed(value, after[key])]
        elif isinstance(value, list) and isinstance(after[key], list):
            keys += [f"{key}: {item}" for item in value if item not in after[key]]
        elif after[key] != value:
            keys.append(key)
    return keys


@pytest.mark.parametrize("name", CORPUS)
def test_existing_settings_are_kept_and_wanted_ones_added(name: str) -> None:
    before = d.parse(CORPUS[name].encode("utf-8"), "daemon.json")
    kept = copy.deepcopy(before)
    after = d.merged(before, WANTED)
    assert before == kept
    assert after["live-restore"] is True
    assert after["runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"
    assert after["exec-opts"].count("native.cgroupdriver=cgroupfs") == 1
    allowed = {"cgroups": ["exec-opts: native.cgroupdriver=systemd"], "old nvidia runtime": ["runtimes.nvidia.path"]}
    assert changed(before, after) == allowed.get(name, [])
    assert [key for key in after if key in before] == list(before)
    assert d.merged(after, WANTED) == after, "the second time changes nothing"
    text = d.render(after, CORPUS[name].encode("utf-8"))
    assert d.parse(text.encode("utf-8"), "daemon.json") == after
    assert list(json.loads(text)) == list(after)


@pytest.mark.parametrize("name", CORPUS)
def test_added_settings_can_be_removed(name: str) -> None:
    before = d.parse(CORPUS[name].encode("utf-8"), "daemon.json")
    rest = d.without(d.merged(before, WANTED), WANTED)
    if name not in ("cgroups", "old nvidia runtime"):
        assert rest == before
    assert "live-restore" not in rest
    assert "cgroupfs" not in json.dumps(rest)


@pytest.mark.parametrize("name", BROKEN)
def test_invalid_files_are_refused(name: str) -> None:
    raw, why = BROKEN[name]
    with pytest.raises(InputError) as caught:
        d.parse(raw, "/etc/docker/daemon.json")
    assert "/etc/docker/daemon.json" in caught.value.message
    assert why in caught.value.message
    assert "left as it is" in caught.value.hint


def test_one_name_has_one_value() -> None:
    existing = {"exec-opts": ["a=1", "native.cgroupdriver=systemd", "b=2"]}
    assert d.merged(existing, {"exec-opts": ["native.cgroupdriver=cgroupfs"]}) == {
        "exec-opts": ["a=1", "native.cgroupdriver=cgroupfs", "b=2"]
    }
    assert d.merged({"dns": ["10.0.0.1"]}, {"dns": ["10.0.0.2"]}) == {"dns": ["10.0.0.1", "10.0.0.2"]}


def test_a_setting_changed_since_then_is_kept() -> None:
    assert d.without({"live-restore": False}, WANTED) == {"live-restore": False}
    existing = {"runtimes": {"nvidia": {"path": "/opt/other"}}}
    assert d.without(existing, WANTED) == existing


def test_the_indentation_is_kept() -> None:
    assert d.render({"a": {"b": 1}}, b'{\n\t"c": 2\n}') == '{\n\t"a": {\n\t\t"b": 1\n\t}\n}\n'
    assert d.render({"a": 1}) == '{\n    "a": 1\n}\n'


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
configs = st.dictionaries(st.text(max_size=3), values, max_size=4)


@given(configs, configs)
def test_merging_again_changes_nothing(existing: dict[str, t.Any], wanted: dict[str, t.Any]) -> None:
    result = d.merged(existing, wanted)
    assert d.merged(result, wanted) == result
    assert d.parse(d.render(result).encode("utf-8"), "x") == result
