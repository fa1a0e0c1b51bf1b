# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of the GPU lease when another program has changed it, or when the clock was set."""

from __future__ import annotations

import json
import time
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.gpu_lease import (
    ollama_lease,
    ollama_stopped_for,
    release_stale,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.lease_lab import Host, Jobs

PROCESS = {
    "argv": ["/usr/bin/ollama", "serve"],
    "env": {},
    "cwd": "/",
    "uid": 0,
    "gid": 0,
    "log": "/dev/null",
    "port": 11434,
}
ODD_SERVERS: list[t.Any] = [
    5,
    None,
    "ollama",
    {},
    [5],
    [None],
    [{}],
    [{"kind": "unit"}],
    [{"kind": "unit", "name": 5}],
    [{"kind": "new", "name": "n"}],
    *(
        [{"is_ollama": True, "kind": "process", "name": "ollama", "how": how}]
        for how in (
            {},
            None,
            5,
            [],
            {**PROCESS, "argv": []},
            {**PROCESS, "argv": "ollama"},
            {**PROCESS, "argv": [5]},
            {**PROCESS, "env": []},
            {**PROCESS, "env": {"A": 1}},
            {**PROCESS, "uid": "x"},
            {**PROCESS, "port": None},
            {**PROCESS, "cwd": 5},
            {**PROCESS, "gid": -1},
            {**PROCESS, "groups": ["x"]},
            {**PROCESS, "log": "a\0b"},
        )
    ),
]


@pytest.mark.parametrize("servers", ODD_SERVERS)
def test_a_record_without_a_server_that_can_be_read_counts_as_missing(
    jobs: Jobs, servers: t.Any, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs.file.write_text(json.dumps({"job": "gone/gone", "servers": servers}))
    assert ollama_lease(jobs.layout) == {} and ollama_stopped_for(jobs.layout) == ""
    release_stale(jobs.layout)
    assert not jobs.file.exists() and "gpu_loan.json.damaged" in capfd.readouterr().err
    release_stale(jobs.layout)
    assert capfd.readouterr().err == "", "it is reported once"


@pytest.mark.parametrize("job", [None, 5, "", "x", "../../x", "a/../b", "a/", "/a/b", "a\0/b", ["a"]])
def test_a_record_without_its_job_counts_as_missing(jobs: Jobs, host: Host, job: t.Any) -> None:
    servers = [{"is_ollama": True, "kind": "unit", "name": "ollama"}]
    jobs.file.write_text(json.dumps({"job": job, "servers": servers}))
    release_stale(jobs.layout)
    assert host.calls == [] and not jobs.file.exists()


@pytest.mark.parametrize(
    "odd",
    [
        {"tried_at": "x"},
        {"tried_at": 5},
        {"tried": 5},
        {"tried": {"boot": 5}},
        {"tried": {"seconds": "x"}},
        {"name": {}},
        {"policy": 5},
        {"policy": None},
        {"ollama_url": 5},
        {"ollama_url": "http://h:port"},
        {"ollama_url": "::"},
        {"at": []},
    ],
)
def test_odd_values_in_a_record_keep_no_server_away(jobs: Jobs, host: Host, odd: dict[str, t.Any]) -> None:
    servers = [{"is_ollama": True, "kind": "unit", "name": "ollama"}]
    jobs.file.write_text(json.dumps({"job": "gone/gone", "policy": "stop", "servers": servers, **odd}))
    ollama_lease(jobs.layout, jobs.tools.ollama_url)
    ollama_stopped_for(jobs.layout, jobs.tools.ollama_url)
    release_stale(jobs.layout)
    assert host.calls == ["restore ollama"] and not jobs.file.exists()


@pytest.mark.parametrize("hours", [-24, 24])
def test_a_clock_that_was_set_does_not_change_when_a_server_is_tried_again(
    jobs: Jobs, host: Host, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    lease = jobs.lease("stop")
    lease.acquire()
    host.calls, host.refuses = [], {"restore ollama"}
    lease.release()
    jobs.end()
    host.calls, host.refuses = [], set()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + hours * 3600)
    release_stale(jobs.layout)
    assert host.calls == [], "half a minute has not passed"
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: since_boot + 31)
    release_stale(jobs.layout)
    assert host.calls == ["restore ollama"]


def test_after_a_reboot_a_server_is_tried_at_once(jobs: Jobs, host: Host) -> None:
    servers = [{"is_ollama": True, "kind": "unit", "name": "ollama"}]
    tried = {"boot": "another", "seconds": 1e9}
    record = {"job": "gone/gone", "servers": servers, "tried_at": "2099-01-01T00:00:00.000Z", "tried": tried}
    jobs.file.write_text(json.dumps(record))
    release_stale(jobs.layout)
    assert host.calls == ["restore ollama"]
