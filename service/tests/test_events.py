# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of runs have no gaps and no duplicates, whichever process is killed."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import time
import typing as t
from pathlib import Path

import httpx
import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service, events


def follow(service: Service, job_id: str, last: str = "", most: int = 10_000) -> list[dict[str, t.Any]]:
    """Return events of a stream until it ends, fails, or has so many events."""
    found: list[dict[str, t.Any]] = []
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    try:
        with service.client() as client, client.stream("GET", f"/api/jobs/{job_id}/events", headers=headers) as reply:
            assert reply.status_code == 200
            for event in events(reply.iter_lines()):
                found.append(event)
                if len(found) >= most:
                    break
    except httpx.HTTPError:
        pass
    return found


def test_a_run_of_another_process_is_followed_to_its_end(service: Service) -> None:
    run = service.lab.counting("counted", steps=2, count=3)
    service.lab.engine.submit(run)
    found = follow(service, run.id)
    assert found[-1]["event"] == "end" and found[-1]["data"]["status"] == "succeeded"
    told = [event["data"] for event in found[:-1]]
    assert [event["id"] for event in told] == list(range(1, len(told) + 1))
    assert [event["message"] for event in told] == [
        "Queued.",
        "step-0 started.",
        "step-0 is done.",
        "step-1 started.",
        "step-1 is done.",
        "Succeeded.",
    ]
    assert [(event["code"], event["parameters"]) for event in told[:2]] == [
        ("service.event_queued", {}),
        ("service.event_step_started", {"step": "step-0"}),
    ]
    assert [event["data"]["id"] for event in follow(service, run.id, last="4")[:-1]] == [5, 6]
    with service.client() as client:
        assert client.get(f"/api/jobs/{run.id}/events?after=5").json()["events"] == [told[5]]
        assert client.get(f"/api/jobs/{run.id}/events?after=6&wait=0.1").json() == {"events": []}


def test_a_long_poll_returns_at_the_first_event(service: Service) -> None:
    job_id = service.occupy()
    with service.client() as client:
        after = client.get(f"/api/jobs/{job_id}/events").json()["events"][-1]["id"]
        service.lab.engine.cancel(job_id)
        found = client.get(f"/api/jobs/{job_id}/events?after={after}&wait=30").json()["events"]
        assert found and found[0]["id"] == after + 1


def test_a_short_resubmitted_run_reaches_waiting_clients(service: Service) -> None:
    """It fails, and fails again between two polls of the service: waiting clients get the events nevertheless."""
    run = service.lab.run("short", "exit 3")
    service.lab.apply(run)
    with service.client() as client, concurrent.futures.ThreadPoolExecutor(1) as pool:
        told = follow(service, run.id)[:-1]
        assert told[-1]["data"]["data"]["status"] == "failed"
        waiting = pool.submit(client.get, f"/api/jobs/{run.id}/events?after={len(told)}&wait=25")
        time.sleep(0.5)
        assert service.process is not None
        service.process.send_signal(signal.SIGSTOP)
        service.lab.apply(run)
        service.process.send_signal(signal.SIGCONT)
        found = waiting.result().json()["events"]
    failed = next(event["data"] for event in told if event["data"]["code"] == "service.event_step_failed_because")
    assert failed["message"] == f"step-0 failed: {failed['parameters']['problem']['text']}"
    assert failed["parameters"]["problem"]["code"] == "engine.command_failed"
    assert [event["message"] for event in found[:1]] == ["Queued again."]
    assert found[-1]["data"]["ended"] is True


def test_events_of_an_older_version_are_read(service: Service) -> None:
    """Its journal has the texts alone."""
    run = service.lab.counting("counted", steps=1, count=1)
    service.lab.apply(run)
    journal = Path(service.lab.data, "service", "events", f"{run.id}.jsonl")
    service.kill()
    journal.parent.mkdir(parents=True, exist_ok=True)
    event = {"id": 1, "job_id": run.id, "at": "", "type": "status", "level": "info", "message": "Queued.", "data": {}}
    journal.write_text(json.dumps({"key": "queued:1", **event}) + "\n")
    service.start()
    told = [each["data"] for each in follow(service, run.id)[:-1]]
    assert [(each["id"], each["message"], each["code"]) for each in told] == [
        (1, "Queued.", ""),
        (2, "step-0 started.", "service.event_step_started"),
        (3, "step-0 is done.", "service.event_step_done"),
        (4, "Succeeded.", "service.event_succeeded"),
    ]


@pytest.mark.parametrize("kills", [3])
def test_repeated_kills(service: Service, kills: int) -> None:
    """The service is killed while it streams; the client reconnects with the last id it has."""
    run = service.lab.counting("counted", steps=4, count=12, pause=0.1)
    service.lab.engine.submit(run)
    got: list[dict[str, t.Any]] = []
    for number in range(kills):
        last = got[-1]["id"] if got else ""
        got += [event for event in follow(service, run.id, last, most=number + 2) if event["event"] != "end"]
        service.kill()
        time.sleep(0.3)
        service.start()
    got += [event for event in follow(service, run.id, got[-1]["id"]) if event["event"] != "end"]
    assert [event["data"]["id"] for event in got] == list(range(1, 11)), [event["data"]["message"] for event in got]
    assert [event["data"]["message"] for event in got][-1] == "Succeeded."
    counted = [(one.step, one.number) for one in service.lab.evidence() if one.what == "done"]
    assert sorted(counted) == sorted(set(counted)), "nothing was done twice"
    assert len(counted) == 4 * 12


def test_an_incomplete_line_is_written_again(service: Service) -> None:
    run = service.lab.counting("counted", steps=1)
    service.lab.apply(run)
    whole = [event["data"]["id"] for event in follow(service, run.id)[:-1]]
    journal = service.root / "data" / "service" / "events" / f"{run.id}.jsonl"
    raw = journal.read_bytes()
    service.kill()
    journal.write_bytes(raw[:-20])
    service.start()
    again = follow(service, run.id)
    assert [event["data"]["id"] for event in again[:-1]] == whole
    assert journal.read_bytes() == raw


def test_an_accepted_job_is_not_lost(service: Service) -> None:
    """Killed right after the response: the job exists, continues after a restart, and runs once."""
    service.publish()
    occupant = service.occupy()
    with service.client() as client:
        job_id = client.post("/api/train", json=service.request()).json()["job_id"]
    service.kill()
    service.start()
    with service.client() as client:
        assert client.get(f"/api/status/{job_id}").status_code == 200
        assert client.post("/api/train", json=service.request()).json()["created"] is False
        listed = [job["job_id"] for job in client.get("/api/jobs").json()["jobs"]]
        assert listed.count(job_id) == 1
        client.post(f"/api/jobs/{occupant}/cancel")


def test_the_watcher_starts_the_next_step(service: Service) -> None:
    """The service advances a queue that has lost all of its supervisors."""
    run = service.lab.counting("counted", steps=2, count=5, pause=0.1)
    service.lab.engine.submit(run)
    service.lab.wait_for_command(run)
    service.lab.kill(service.lab.identity(run, "supervisor.json"))
    found = follow(service, run.id)
    assert found[-1]["data"]["status"] == "succeeded"
