# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of the GPU: who yields, what is recorded before, and what is restored after whatever happened.

The servers are records of what was asked of them; tests/docker and tests/real have real ones.
"""

from __future__ import annotations

import json
import time
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import gpu_lease
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.gpu_lease import (
    ollama_lease,
    ollama_stopped_for,
    release_stale,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.ollama_use import OllamaUse
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.local_services import (
    Process,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.locks import FileLock
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama
from ansible_collections.ia_homelab.llamafactory.tests.support.lease_lab import Host, Jobs, Recorded


def test_share_leaves_everything(jobs: Jobs, host: Host, ollama: FakeOllama) -> None:
    lease = jobs.lease("share")
    assert lease.acquire() == [] and lease.release() == []
    assert host.calls == [] and ollama.loaded == ["m:latest"] and not jobs.file.exists()
    assert not lease.covers(len("ollama"))


def test_unload_unloads_and_stops_nothing(jobs: Jobs, host: Host, ollama: FakeOllama) -> None:
    lease = jobs.lease("unload")
    assert lease.acquire() == [] and lease.release() == []
    assert ollama.loaded == [] and host.calls == [] and not jobs.file.exists()


def test_stop_stops_and_restores(jobs: Jobs, host: Host, ollama: FakeOllama) -> None:
    lease = jobs.lease("stop")
    assert lease.covers(len("ollama")) and lease.covers(len("webui")) and not lease.covers(99)
    assert lease.acquire() == [
        "Until this job ends, unit ollama is stopped.",
        "Until this job ends, unit webui is stopped.",
    ]
    assert host.calls == ["stop ollama", "stop webui"]
    record = jobs.record()
    assert record["job"] == "run-1/job-1"
    assert [(each["name"], each["is_ollama"]) for each in record["servers"]] == [("ollama", True), ("webui", False)]
    assert jobs.file.stat().st_mode & 0o777 == 0o600, "environments of servers are recorded"
    assert lease.release() == []
    assert host.calls[2:] == ["restore ollama", "restore webui"] and not jobs.file.exists()
    assert lease.release() == [] and len(host.calls) == 4


def test_cpu_moves_ollama_and_stops_the_others(jobs: Jobs, host: Host, ollama: FakeOllama) -> None:
    assert jobs.lease("cpu").acquire() == [
        "Until this job ends, unit ollama runs without a GPU.",
        "Until this job ends, unit webui is stopped.",
    ]
    assert host.calls == ["cpu ollama", "stop webui"]


def test_what_yields_is_recorded_before_it_is_stopped(jobs: Jobs, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_server: Recorded) -> None:
        raise KeyboardInterrupt

    lease = jobs.lease("stop")
    monkeypatch.setattr(Recorded, "stop", die)
    with pytest.raises(KeyboardInterrupt):
        lease.acquire()
    assert [each["name"] for each in jobs.record()["servers"]] == ["ollama", "webui"]
    jobs.end()
    release_stale(jobs.layout)
    assert host.calls == ["restore ollama", "restore webui"] and not jobs.file.exists()


def test_nothing_to_yield_leaves_no_record(jobs: Jobs, host: Host) -> None:
    host.ollama, host.labelled = "", []
    lease = jobs.lease("stop")
    assert lease.acquire() == [] and not jobs.file.exists() and lease.release() == []


def test_an_ollama_that_cannot_be_stopped_unloads_instead(jobs: Jobs, host: Host, ollama: FakeOllama) -> None:
    host.unknown = "What serves it cannot be stopped."
    messages = jobs.lease("stop").acquire()
    assert messages == [
        "What serves it cannot be stopped. Its models are unloaded instead.",
        "Until this job ends, unit webui is stopped.",
    ]
    assert ollama.loaded == [] and host.calls == ["stop webui"]


def test_a_server_that_does_not_yield_does_not_fail_the_training(jobs: Jobs, host: Host, ollama: FakeOllama) -> None:
    host.refuses = {"stop ollama"}
    assert jobs.lease("stop").acquire() == [
        "unit ollama does not yield the GPU: told to fail.",
        "Until this job ends, unit webui is stopped.",
    ]
    assert ollama.loaded == [], "its memory is freed at least"


def test_an_engine_that_is_down_covers_no_process(jobs: Jobs, host: Host) -> None:
    lease = jobs.lease("stop")
    host.refuses = {"inspect"}
    assert not lease.covers(len("ollama"))


def test_a_lost_supervisors_record_wins_over_what_runs_now(jobs: Jobs, host: Host) -> None:
    """Only the record says how the server ran before it was stopped; now it may run on the CPU."""
    servers = [{"is_ollama": True, "kind": "unit", "name": "ollama"}, {"is_ollama": False, "kind": "unit", "name": "x"}]
    jobs.file.write_text(json.dumps({"job": "run-0/job-9", "servers": servers}))
    host.labelled = []
    jobs.lease("stop").acquire()
    assert jobs.record()["job"] == "run-1/job-1"
    assert [each["name"] for each in jobs.record()["servers"]] == ["ollama", "x"], "each once"


def test_servers_are_told_apart_by_kind_and_port() -> None:
    first, again, other = (
        gpu_lease.LeasedServer(Process(f"ollama (pid {pid})", {"port": port}), True)
        for pid, port in ((1, 11434), (2, 11434), (3, 11435))
    )
    assert first.key == again.key == ("process", "11434"), "a restart changes its process and not what it serves"
    assert other.key != first.key


def test_release_waits_until_ollama_answers(
    jobs: Jobs, host: Host, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = jobs.lease("stop")
    lease.acquire()
    ollama.refuses.add("/api/version")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            ollama.refuses.clear()

    # not time.sleep itself: other threads of this process sleep, too
    monkeypatch.setattr(gpu_lease, "time", types.SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    assert lease.release() == [] and len(slept) == 3


def test_an_ollama_that_stays_silent_is_reported(
    jobs: Jobs, host: Host, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = jobs.lease("stop")
    lease.acquire()
    ollama.refuses.add("/api/version")
    monkeypatch.setattr(gpu_lease, "_ANSWER_SECONDS", 0.0)
    (problem,) = lease.release()
    assert problem.startswith("Ollama was started again and does not answer: ") and "told to fail" in problem
    assert not jobs.file.exists(), "it was restored: there is nothing to repeat"


def test_without_ollama_nobody_waits(jobs: Jobs, host: Host, ollama: FakeOllama) -> None:
    host.ollama = ""
    ollama.refuses.add("/api/version")
    lease = jobs.lease("stop")
    lease.acquire()
    assert lease.release() == []


def test_what_could_not_be_restored_is_tried_again_later(
    jobs: Jobs, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = jobs.lease("stop")
    lease.acquire()
    host.calls, host.refuses = [], {"restore ollama"}
    assert lease.release() == ["unit ollama could not be started again: told to fail."]
    assert host.calls == ["restore webui"]
    assert [each["name"] for each in jobs.record()["servers"]] == ["ollama"], "only what is left"
    jobs.end()
    host.refuses = set()
    release_stale(jobs.layout)
    assert host.calls == ["restore webui"], "not twice within half a minute"
    monkeypatch.setattr(gpu_lease, "_RETRY_SECONDS", 0.0)
    release_stale(jobs.layout)
    assert host.calls == ["restore webui", "restore ollama"] and not jobs.file.exists()


def test_only_a_lease_of_an_ended_or_vanished_job_is_stale(jobs: Jobs, host: Host) -> None:
    release_stale(jobs.layout)  # there is none
    jobs.lease("stop").acquire()
    release_stale(jobs.layout)
    assert "restore ollama" not in host.calls, "its job is at work"
    (Path(jobs.layout.path("jobs", "active", "run-1/job-1")) / "outcome.json").write_text("{")
    release_stale(jobs.layout)
    assert "restore ollama" not in host.calls, "a damaged outcome is none"
    Path(jobs.layout.path("jobs", "active", "run-1")).rename(jobs.layout.path("jobs", "done-run"))
    release_stale(jobs.layout)
    assert "restore ollama" in host.calls and not jobs.file.exists()


def test_a_lease_that_the_next_job_took_over_is_left(jobs: Jobs, host: Host) -> None:
    first = jobs.lease("stop")
    first.acquire()
    second = jobs.lease("stop", "run-2/job-1")
    second.acquire()
    host.calls = []
    assert first.release() == [] and host.calls == []
    assert second.release() == [] and host.calls == ["restore ollama", "restore webui"]


def test_one_process_restores(jobs: Jobs, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = jobs.lease("stop")
    lease.acquire()
    host.calls = []
    monkeypatch.setattr(gpu_lease, "_ANSWER_SECONDS", 0.05)
    with FileLock(jobs.layout.path("jobs", "gpu_loan.lock")):
        assert lease.release() == ["Another process is restoring the other users of the GPU."]
    assert host.calls == [] and jobs.file.exists()


def test_a_changed_record_loses_only_the_entries_that_cannot_be_read(jobs: Jobs, host: Host) -> None:
    servers = [{"is_ollama": False, "kind": "unit"}, None, {"is_ollama": False, "kind": "unit", "name": "webui"}]
    jobs.file.write_text(json.dumps({"job": "gone/gone", "servers": servers}))
    release_stale(jobs.layout)
    assert host.calls == ["restore webui"] and not jobs.file.exists()
    jobs.file.write_text("{")
    release_stale(jobs.layout)
    assert host.calls == ["restore webui"]


# -- exclusive access to Ollama ----------------------------------------------------------------------------------------


def use(jobs: Jobs) -> OllamaUse:
    return OllamaUse(jobs.layout, "run-9+register-1", jobs.tools.ollama_url)


@pytest.mark.parametrize("policy", ["stop", "cpu"])
def test_a_training_waits_for_the_users_of_ollama_before_it_stops_it(jobs: Jobs, host: Host, policy: str) -> None:
    user, lease = use(jobs), jobs.lease(policy)
    assert user.request() is None
    Path(jobs.layout.path("jobs", "active", "run-9", "register-1")).mkdir(parents=True)
    Path(jobs.layout.path("jobs", "active", "run-9", "run.json")).write_text('{"name": "first"}')
    Path(jobs.layout.path("jobs", "active", "run-9", "register-1", "job.json")).write_text('{"label": "register"}')
    assert [str(user) for user in lease.ollama_users()] == ["register of first"]
    later = OllamaUse(jobs.layout, "run-8+register-1", jobs.tools.ollama_url)
    assert str(later.request()) == "Ollama, which is being stopped or restarted for job-1 of run-1", (
        "it does not overtake"
    )
    user.release()
    assert lease.ollama_users() == []
    lease.withdraw()
    assert later.request() is None, "a request that is withdrawn lets others pass"


@pytest.mark.parametrize("policy", ["unload", "share"])
def test_a_training_that_leaves_ollama_running_waits_for_no_user(jobs: Jobs, host: Host, policy: str) -> None:
    assert use(jobs).request() is None
    assert jobs.lease(policy).ollama_users() == []


def test_a_training_waits_for_no_user_of_a_server_that_it_does_not_stop(jobs: Jobs, host: Host) -> None:
    """It runs on another machine, or there is none."""
    host.ollama = ""
    user = use(jobs)
    assert user.request() is None and jobs.lease("stop").ollama_users() == []


def test_ollama_is_in_use_from_the_stop_until_it_answers_again(jobs: Jobs, host: Host, ollama: FakeOllama) -> None:
    lease, user = jobs.lease("stop"), use(jobs)
    assert lease.ollama_users() == []
    lease.acquire()
    assert ollama_stopped_for(jobs.layout) == "run-1"
    assert str(user.request()) == "Ollama, which is stopped for the training run-1"
    answer, during = ollama.answer, []

    def observe(method: str, path: str, body: dict[str, t.Any]) -> tuple[int, dict[str, t.Any]]:
        during.append(str(user.request()))
        ollama.answer = answer  # type: ignore[method-assign]
        return answer(method, path, body)

    ollama.answer = observe  # type: ignore[method-assign]
    assert lease.release() == []
    assert during == ["Ollama, which is being stopped or restarted for job-1 of run-1"], "it may not be ready yet"
    assert user.request() is None


def test_the_record_alone_keeps_users_away(jobs: Jobs, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor was killed; another one follows its training, and releases the lease without exclusive access."""
    lease = jobs.lease("stop")
    lease.ollama_users()
    lease.acquire()
    lease.withdraw()  # the kernel does it
    user = use(jobs)
    assert str(user.request()) == "Ollama, which is stopped for the training run-1"
    assert jobs.lease("stop").release() == [], "it does not wait for a user who waits for it"
    assert user.request() is None


def test_a_training_that_lost_supervisor_and_command_does_not_wait_for_who_waits_for_it(jobs: Jobs, host: Host) -> None:
    """After a reboot a job that uses Ollama may be back first. They would wait for each other for ever."""
    jobs.lease("stop").acquire()
    user = use(jobs)
    assert str(user.request()) == "Ollama, which is stopped for the training run-1"
    again = jobs.lease("stop")
    assert again.ollama_users() == []
    again.acquire()
    assert again.release() == [] and user.request() is None


def test_the_lease_of_another_server_keeps_no_user_away(jobs: Jobs, host: Host) -> None:
    jobs.lease("stop").acquire()
    elsewhere = "http://192.0.2.1:11434"
    assert ollama_stopped_for(jobs.layout, elsewhere) == ""
    assert OllamaUse(jobs.layout, "run-9+register-1", elsewhere).request() is None


def test_a_user_restores_what_a_lost_training_left(jobs: Jobs, host: Host) -> None:
    jobs.lease("stop").acquire()
    jobs.end()
    assert use(jobs).request() is None
    assert "restore ollama" in host.calls and not jobs.file.exists()


def test_on_the_cpu_ollama_can_be_used_between_the_restarts(
    jobs: Jobs, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, user = jobs.lease("cpu"), use(jobs)
    assert lease.ollama_users() == []
    lease.acquire()
    assert ollama_stopped_for(jobs.layout) == "" and user.request() is None
    monkeypatch.setattr(gpu_lease, "_USERS_SECONDS", 0.0)
    (message,) = lease.release()
    assert message == "Ollama keeps running without a GPU while it is in use by register-1 of run-9."
    assert "restore ollama" not in host.calls and jobs.file.exists()
    jobs.end()
    release_stale(jobs.layout)
    assert "restore ollama" not in host.calls, "it is in use"
    user.release()
    release_stale(jobs.layout)
    assert "restore ollama" in host.calls and not jobs.file.exists()


def test_an_ollama_that_refuses_to_stop_can_be_used(jobs: Jobs, host: Host) -> None:
    host.refuses = {"stop ollama"}
    lease = jobs.lease("stop")
    assert lease.ollama_users() == []
    lease.acquire()
    user = use(jobs)
    assert user.request() is None and ollama_stopped_for(jobs.layout) == ""
    assert lease.release() == []


def test_the_lease_of_a_server(jobs: Jobs, host: Host) -> None:
    assert ollama_lease(jobs.layout) == {}
    jobs.lease("stop").acquire()
    lease = {"name": "run-1", "policy": "stop", "kind": "unit"}
    assert ollama_lease(jobs.layout) == ollama_lease(jobs.layout, jobs.tools.ollama_url) == lease
    port = jobs.tools.ollama_url.rpartition(":")[2]
    assert ollama_lease(jobs.layout, f"http://localhost:{port}") == lease
    assert (
        ollama_lease(jobs.layout, "http://127.0.0.1:1") == ollama_lease(jobs.layout, f"http://192.0.2.1:{port}") == {}
    )
    jobs.end()
    assert ollama_lease(jobs.layout) == {}, "the next reconcile starts it"


def test_a_record_of_an_earlier_version_means_that_ollama_is_stopped(jobs: Jobs, host: Host) -> None:
    jobs.lease("stop")
    servers = [{"is_ollama": True, "kind": "unit", "name": "ollama"}]
    jobs.file.write_text(json.dumps({"job": "run-1/job-1", "servers": servers}))
    assert ollama_stopped_for(jobs.layout) == "run-1" and ollama_lease(jobs.layout)["policy"] == "stop"
    servers[0]["is_ollama"] = False
    jobs.file.write_text(json.dumps({"job": "run-1/job-1", "servers": servers}))
    assert ollama_stopped_for(jobs.layout) == "" and ollama_lease(jobs.layout) == {}
