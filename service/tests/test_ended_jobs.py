# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that have ended: where their log names the cause of a failure, and how they are dismissed."""

from __future__ import annotations

import html
import typing as t

import httpx

from ansible_collections.ia_homelab.llamafactory.tests.support.recorded import recorded
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service

PAGE = {"Accept": "text/html", "Accept-Language": "en"}
#: The cause is far before the end of the log.
FAILS = (
    "echo token=hf_abcdefghijklmnopqrstuv; echo write: No space left on device; "
    "for i in $(seq 400); do echo cleaning $i; done; exit 3"
)


def messages(client: httpx.Client, job_id: str) -> list[str]:
    """The texts of the events of a job."""
    found = client.get(f"/api/jobs/{job_id}/events").json()["events"]
    assert [one["id"] for one in found] == list(range(1, len(found) + 1))
    return [one["message"] for one in found]


def status(client: httpx.Client, job_id: str) -> int:
    return client.get(f"/api/status/{job_id}").status_code


def test_log_names_the_first_cause_of_a_failure(service: Service) -> None:
    run = service.lab.run("fails", FAILS)
    service.lab.apply(run)
    with service.client() as client:
        log: dict[str, t.Any] = client.get(f"/api/jobs/{run.id}/log?lines=3").json()
        page = html.unescape(client.get(f"/watch/{run.id}", headers=PAGE).text)
    assert log["lines"] == ["cleaning 398", "cleaning 399", "cleaning 400"]
    cause = log["cause"]
    assert (cause["line"], cause["text"]) == (2, "write: No space left on device")
    assert cause["excerpt"][:2] == ["token=hf_***", "write: No space left on device"]
    assert cause["path"] == log["path"] and log["path"].endswith("/step-0-1/log.txt")
    assert cause["problem"]["code"] == "steps.tool_disk_full" and cause["problem"]["hint"]
    assert f"{log['path']}, line 2" in page and cause["problem"]["hint"] in page
    assert page.index("<mark>     2  write: No space left on device</mark>") < page.index("cleaning 400")
    assert "hf_abc" not in page


def test_message_of_a_failure_is_its_first_cause(service: Service) -> None:
    """The log of a training on two GPUs ends with what torchrun and its launcher say of the processes."""
    log = service.root / "recorded.log"
    log.write_bytes(recorded("failed-lora_target_torchrun.log"))
    run = service.lab.run("fails", f"cat {log}; exit 1")
    service.lab.apply(run)
    expected = "The base model has no modules {'q_prj'}."
    with service.client() as client:
        error = client.get(f"/api/status/{run.id}").json()["error"]
        cause = client.get(f"/api/jobs/{run.id}/log?lines=3").json()["cause"]
        said = messages(client, run.id)
        pages = {
            code: html.unescape(client.get(f"/watch/{run.id}", headers={**PAGE, "Accept-Language": code}).text)
            for code in ("en", "fr")
        }
    assert expected in error["message"] and "lora_target" in error["hint"]
    assert expected in said[-1]
    assert cause["text"].startswith("[rank1]: ValueError: Target modules")
    assert pages["en"].count("The base model has no modules") == 2, "the error, and the cause above the log"
    assert pages["fr"].count("pas de modules") == 2


def test_log_without_a_failure_has_no_cause(service: Service) -> None:
    run = service.lab.run("warns", "echo 'ValueError: handled'")
    service.lab.apply(run)
    with service.client() as client:
        log = client.get(f"/api/jobs/{run.id}/log").json()
        page = client.get(f"/watch/{run.id}", headers=PAGE).text
    assert log["lines"] == ["ValueError: handled"] and log["cause"] is None
    assert "<mark>" not in page


def test_dismissed_job_is_gone(service: Service) -> None:
    failed, made = service.lab.run("fails", "exit 3"), service.lab.run("makes", "true")
    for run in (failed, made):
        service.lab.apply(run)
    with service.client() as client:
        assert "Queued." in messages(client, failed.id)
        told = client.post(f"/api/jobs/{failed.id}/dismiss")
        assert (told.status_code, told.json()["status"]) == (200, "failed")
        assert [one["job_id"] for one in client.get("/api/jobs").json()["jobs"]] == [made.id]
        assert status(client, failed.id) == status(client, "nothing") == 404
        assert client.get(f"/api/jobs/{failed.id}/events").status_code == 404
        assert client.post(f"/api/jobs/{failed.id}/dismiss").status_code == 404
        service.lab.apply(failed)  # the same run again: its events begin anew
        assert messages(client, failed.id)[:2] == ["Queued.", "step-0 started."]


def test_active_job_is_not_dismissed(service: Service) -> None:
    service.publish()
    service.occupy()
    with service.client() as client:
        job_id = client.post("/api/train", json=service.request()).json()["job_id"]
        refused = client.post(f"/api/jobs/{job_id}/dismiss")
        assert (refused.status_code, refused.json()["code"]) == (409, "runs.dismiss_active")
        assert refused.json()["hint"] == "Cancel it first." and status(client, job_id) == 200


def test_events_of_a_job_that_was_dismissed_in_a_terminal_begin_anew(service: Service) -> None:
    """Its attempts are counted from 1 again, as those whose events there are already."""
    run = service.lab.run("fails", "exit 3")
    service.lab.apply(run)
    with service.client() as client:
        before = messages(client, run.id)
        assert service.lab.engine.dismiss(run.id)
        assert status(client, run.id) == 404
        service.lab.apply(run)
        again = client.get(f"/api/jobs/{run.id}/events").json()["events"]
        submitted = client.get(f"/api/status/{run.id}").json()["submitted_at"]
    assert [one["message"] for one in again] == before
    assert all(one["at"] >= submitted for one in again)
