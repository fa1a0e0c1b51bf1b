# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of the specification, and later additions, on a real server with the real core."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

import httpx
import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import PROMPTS, Service

PROBLEM = "application/problem+json"
NO_FIELD = "There is no field"
MISSING = ("{field} is missing.", "")
NOT_TEXT = ("{field} must be text, not {value}.", "")
NO_OBJECT = ("The body must be a JSON object.", "")


@pytest.fixture
def busy(service: Service) -> Service:
    """A service with a dataset, whose machine is in use: submitted jobs stay in the queue."""
    service.publish()
    service.occupy()
    return service


def jobs(client: httpx.Client) -> list[dict[str, t.Any]]:
    """Return all jobs of GET /api/status."""
    return t.cast("list[dict[str, t.Any]]", client.get("/api/status").json()["jobs"])


def wait_for(client: httpx.Client, job_id: str, status: str, seconds: float = 60.0) -> dict[str, t.Any]:
    """Wait for a status of a job, and return the job."""
    end = time.monotonic() + seconds
    while True:
        job: dict[str, t.Any] = client.get(f"/api/status/{job_id}").json()
        if job["status"] == status and not job["cancelling"]:
            return job
        assert time.monotonic() < end, job
        time.sleep(0.05)


def test_the_request_of_the_specification(busy: Service) -> None:
    with busy.client() as client:
        reply = client.post("/api/train", json=busy.request())
        assert reply.status_code == 202, reply.text
        job = reply.json()
        assert reply.headers["location"] == f"/api/status/{job['job_id']}"
        assert job["created"] is True
        assert job["template"] == "qwen"
        assert len(job["dataset_digest"]) == 64
        assert job["dataset_rows"] == 50
        assert job["pending"] == ["base", "train"]
        assert job["hyperparameters"]["lora_rank"] == 16
        assert job["estimate"]["disk_free_bytes"] > 0
        again = client.post("/api/train", json=busy.request(learning_rate="2e-4")).json()
        assert (again["job_id"], again["created"]) == (job["job_id"], False)
        status = wait_for(client, job["job_id"], "queued")  # the base needs no GPU
        assert (status["position"], status["waiting_for"]) == (1, "the run " + jobs(client)[0]["job_id"])
        assert status["links"]["self"] == reply.headers["location"]
        assert jobs(client)[1]["job_id"] == job["job_id"]


def test_the_prefix_of_the_backend(busy: Service) -> None:
    with busy.client() as client:
        one = client.post("/api/train", json=busy.request()).json()
        two = client.post("/api/training/llamafactory/train", json=busy.request()).json()
        assert one["job_id"] == two["job_id"]
        path = f"/api/training/llamafactory/status/{one['job_id']}"
        assert client.get(path).json()["job_id"] == one["job_id"]


def test_other_spellings_are_the_same_job(busy: Service) -> None:
    with busy.client() as client:
        first = client.post("/api/train", json=busy.request()).json()["job_id"]
        base = busy.base()
        other = {
            "model": base,
            "dataset_path": "/app/data/homelab_prompts.json",
            "method": "LoRA",
            "lora_rank": 16,
            "epochs": 3.0,
            "lr": 0.0002,
            "template": "qwen",
        }
        assert client.post("/api/train", json=other).json()["job_id"] == first


def test_every_wrong_field_is_named(idle: Service) -> None:
    with idle.client() as client:
        body = {"model_name": "qwen2.5:7b", "learning_rat": 1, "lora_rank": -1, "num_epochs": "many", "epochs": 2}
        reply = client.post("/api/train", json={**body, "method": "prompt tuning"})
        assert reply.status_code == 422
        assert reply.headers["content-type"] == PROBLEM
        problem = reply.json()
        found = {one["field"]: one for one in problem["errors"]}
        assert set(found) == {"learning_rat", "lora_rank", "num_epochs", "epochs", "method", "dataset"}
        assert found["learning_rat"]["hint"] == "Did you mean learning_rate?"
        assert "GGUF" in found["method"]["message"]
        assert problem["status"] == 422 and problem["title"]


def test_tools_and_their_servers_are_declared_in_the_inventory_alone(idle: Service) -> None:
    """No client can make the service ask a URL, or read a file of the host."""
    declared = [{"name": "homelab", "src": "/etc/passwd", "mcp": "http://127.0.0.1:9/mcp"}]
    with idle.client() as client:
        body = {"model_name": "qwen2.5:7b", "dataset": "d", "finetune_tools": declared, "mcp": declared[0]["mcp"]}
        reply = client.post("/api/train", json={**body, "tools": "homelab"})
        assert reply.status_code == 422
        assert {"finetune_tools", "mcp", "tools"} <= {one["field"] for one in reply.json()["errors"]}
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        rows = json.dumps([{"messages": turns, "tools": "homelab"}]).encode()
        reply = client.post("/api/datasets/named", files={"file": ("rows.json", rows)})
        assert reply.status_code == 422 and "no tools are declared as 'homelab'" in reply.text
        assert client.get("/api/datasets/named").status_code == 404


def test_options_are_checked_together(idle: Service) -> None:
    """Not each with the defaults of all others."""
    body = {"model_name": "qwen2.5:7b", "dataset": "nothing", "lora_rank": 8, "lora_alpha": 32}
    preferences = {"stage": "dpo", "pref_loss": "orpo"}
    with idle.client() as client:
        problem = client.post("/api/plan", json={**body, **preferences}).json()
        assert [one["field"] for one in problem["errors"]] == ["dataset"]
        problem = client.post("/api/plan", json={**body, "pref_loss": "orpo", "nodes": ["a"]}).json()
        assert {one["field"]: one["hint"] for one in problem["errors"]} == {
            "pref_loss": "Declare stage: dpo, or leave pref_loss out.",
            "nodes": "Apply it with playbooks/finetune.yml.",
        }


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"model": "\\ud800"}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "application/x-www-form-urlencoded", 415),
    ],
)
def test_invalid_bodies_are_refused(idle: Service, content: bytes, kind: str, status: int) -> None:
    with idle.client() as client:
        reply = client.post("/api/train", content=content, headers={"Content-Type": kind})
        assert (reply.status_code, reply.headers["content-type"]) == (status, PROBLEM), reply.text


def test_unknown_names_are_reported_with_the_nearest_ones(busy: Service) -> None:
    with busy.client() as client:
        job_id = client.post("/api/train", json=busy.request()).json()["job_id"]
        reply = client.get(f"/api/status/{job_id[:-1]}x")
        assert reply.status_code == 404
        assert job_id in reply.json()["hint"]
        assert client.get("/api/status/..%2f..%2fetc").status_code == 404
        reply = client.post("/api/train", json=busy.request(dataset="homelab_prompt"))
        assert reply.status_code == 422
        assert "homelab_prompts" in reply.json()["errors"][0]["hint"]


def test_cancel_pause_and_resume(busy: Service) -> None:
    with busy.client() as client:
        job_id = client.post("/api/train", json=busy.request()).json()["job_id"]
        wait_for(client, job_id, "queued")
        assert client.post(f"/api/jobs/{job_id}/pause").json()["status"] == "paused"
        assert client.post(f"/api/jobs/{job_id}/resume").status_code == 202
        wait_for(client, job_id, "queued")
        assert client.post(f"/api/jobs/{job_id}/cancel").json()["status"] == "cancelled"
        assert client.post(f"/api/jobs/{job_id}/pause").status_code == 409
        assert client.post(f"/api/jobs/{job_id}/retry").status_code == 202
        found = client.get(f"/api/jobs/{job_id}/events").json()["events"]
    assert [one["id"] for one in found] == list(range(1, len(found) + 1))
    messages = [one["message"] for one in found if one["type"] == "status"]
    assert messages == ["Queued.", "Cancelled.", "Queued again.", "Cancelled.", "Queued again."]


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        ("export", {"job": "x"}, {"job": (f"{NO_FIELD} 'job'.", "Did you mean job_id?"), "job_id": MISSING}),
        ("export", {"job_id": 5, "format": None}, {"job_id": NOT_TEXT, "format": NOT_TEXT}),
        ("models/promote", {"tags": "a"}, {"tags": (f"{NO_FIELD} 'tags'.", "Did you mean tag?"), "tag": MISSING}),
        ("models/release", {}, {"name": MISSING}),
        ("models/rollback", {"name": "a", "too": "b"}, {"too": (f"{NO_FIELD} 'too'.", "Did you mean to?")}),
        ("models/rollback", None, {"": NO_OBJECT}),
        ("models/rollback", ["a"], {"": NO_OBJECT}),
        ("train", ["a"], {"": NO_OBJECT}),
    ],
)
@pytest.mark.parametrize("prefix", ["/api", "/api/training/llamafactory"])
def test_every_wrong_field_of_a_small_body_is_named(
    idle: Service, prefix: str, path: str, body: t.Any, errors: dict[str, tuple[str, str]]
) -> None:
    with idle.client() as client:
        content = {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
        reply = client.post(f"{prefix}/{path}", **content)
        assert (reply.status_code, reply.headers["content-type"]) == (422, PROBLEM), reply.text
    found = {one["field"]: (one["message"], one["hint"]) for one in reply.json()["errors"]}
    expected = {}
    for field, (message, hint) in errors.items():
        value = body.get(field) if isinstance(body, dict) else None
        expected[field] = (message.format(field=field, value=repr(value)), hint)
    assert found == expected


def test_an_export_needs_a_training(busy: Service) -> None:
    with busy.client() as client:
        job_id = client.post("/api/train", json=busy.request()).json()["job_id"]
        reply = client.post("/api/export", json={"job_id": job_id, "format": "gguf"})
        assert reply.status_code == 409
        assert "has not been trained yet" in reply.json()["detail"]
        reply = client.post("/api/export", json={"job": job_id, "format": "onnx"})
        assert {one["field"] for one in reply.json()["errors"]} == {"job", "job_id"}
        assert client.post("/api/export", json={"job_id": "nobody"}).status_code == 404


def test_a_plan_changes_nothing(busy: Service) -> None:
    before = {path: value for path, value in busy.lab.tree().items() if "/occupant" not in path}
    with busy.client() as client:
        plan = client.post("/api/plan", json=busy.request(goal="model")).json()
    assert plan["pending"] == ["base", "train", "merge", "gguf-f16", "gguf-q4_K_M", "register-q4_K_M"]
    assert plan["job"]["status"] == "queued"
    assert plan["estimate"]["seconds"] > 0 and plan["estimate"]["disk_bytes"] > 0
    assert plan["yaml"].startswith("finetunes:\n  - ")
    assert '"goal": "model"' in plan["curl"]
    after = {path: value for path, value in busy.lab.tree().items() if "/occupant" not in path}
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert all("/.work-" in path or path.endswith(("/outputs/probes", "/jobs/active")) for path in changed), changed


def test_every_format_of_the_core_is_accepted(idle: Service) -> None:
    with idle.client() as client:
        upload = {"files": {"file": ("text.jsonl", b'{"text": "a"}')}}
        checked = client.post("/api/datasets/text/validate", data={"format": "text"}, **upload).json()
        assert checked["valid"], checked
        problem = client.post("/api/datasets/text/validate", data={"format": "txt"}, **upload).json()
        assert problem["errors"][0]["hint"] == "Did you mean 'text'?"


def test_datasets_are_published_listed_and_deleted(service: Service, tmp_path: Path) -> None:
    with service.client() as client:
        assert service.publish("homelab")["changed"] is True
        assert service.publish("homelab")["changed"] is False
        (found,) = client.get("/api/datasets").json()["datasets"]
        assert (found["name"], found["rows"], found["format"]) == ("homelab", 50, "alpaca")
        shown = client.get("/api/datasets/homelab?sample=2").json()
        assert len(shown["sample"]) == 2 and json.loads(shown["sample"][0])["instruction"]
        assert client.delete("/api/datasets/homelab?purge=true").status_code == 204
        assert client.delete("/api/datasets/homelab").status_code == 404
        assert client.get("/api/datasets").json() == {"datasets": []}


def test_invalid_rows_are_reported_with_their_position(service: Service) -> None:
    rows = [{"instruction": "a", "output": "b"}, {"instruction": "a", "output": 5}, {"instruction": "x", "outptu": "y"}]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with service.client() as client:
        reply = client.post("/api/datasets/bad", files={"file": ("../../etc/bad.jsonl", content)})
        assert reply.status_code == 422
        problem = reply.json()
        assert {(one["file"], one["row"]) for one in problem["problems"]} == {("bad.jsonl", 2), ("bad.jsonl", 3)}
        checked = client.post("/api/datasets/bad/validate", files={"file": ("bad.jsonl", content)}).json()
        assert (checked["valid"], checked["problems_total"]) == (False, problem["problems_total"])
        raw = client.post("/api/datasets/good?filename=rows.jsonl", content=content.splitlines()[0],
                          headers={"Content-Type": "application/octet-stream"})  # fmt: skip
        assert raw.status_code == 201
        assert client.get("/api/datasets/bad").status_code == 404
    assert not list((service.root / "data/service/uploads").iterdir())


_FILE_PART = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{"instruction":"a","output":"b"}\n'
)


#: Content type, content and status.
_FORMS = (
    ("multipart/form-data; boundary=b", _FILE_PART, 422),
    ("multipart/form-data; boundary=b", _FILE_PART + b"\r\n" + _FILE_PART + b"\r\n--b--\r\n", 400),
    ("multipart/form-data; boundary=c", _FILE_PART + b"\r\n--b--\r\n", 400),
    ("multipart/form-data; boundary=b", b"", 422),
    ("multipart/form-data", _FILE_PART + b"\r\n--b--\r\n", 400),
    ("multipart/form-data; boundary=b", _FILE_PART + b"\r\n--b--\r\n", 201),
)


def test_only_complete_forms_with_one_file_are_taken(service: Service) -> None:
    with service.client() as client:
        for kind, content, status in _FORMS:
            reply = client.post("/api/datasets/formed", content=content, headers={"Content-Type": kind})
            assert reply.status_code == status, (kind, content, reply.text)
            found = client.get("/api/datasets/formed").status_code
            assert found == (200 if status == 201 else 404), (kind, content)
            if status != 201:
                assert reply.headers["content-type"] == PROBLEM, (kind, content)


@pytest.mark.parametrize("name", ["..%2f..%2fx", "a%00b", ".hidden", "a,b", "%2e%2e"])
def test_names_cannot_escape_the_data_directory(idle: Service, name: str) -> None:
    with idle.client() as client:
        reply = client.post(f"/api/datasets/{name}", files={"file": ("a.jsonl", b'{"instruction":"a","output":"b"}')})
        assert reply.status_code in (404, 405, 422), reply.text
    left = {path.name for path in (idle.root / "data").iterdir()}
    assert left <= {"models", "datasets", "outputs", "jobs", "core", "cache", "service"}
    assert sorted(path.name for path in idle.root.iterdir()) == ["data", "service.log", "settings.json"]


def test_the_form_and_the_document_agree(idle: Service) -> None:
    with idle.client() as client:
        form = client.get("/api/schema").json()
        document = client.get("/api/openapi.json").json()
    content = document["paths"]["/api/train"]["post"]["requestBody"]["content"]
    name_of_schema = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][name_of_schema]
    assert schema["additionalProperties"] is False and schema["examples"]
    accepted: dict[str, t.Any] = schema["properties"]
    assert set(form["properties"]) <= set(accepted)
    for name in (
        "model_name",
        "dataset",
        "dataset_path",
        "training_method",
        "lora_rank",
        "num_epochs",
        "learning_rate",
    ):
        assert name in accepted
    assert all(entry["description"] for entry in form["properties"].values())


def test_metrics_and_health(busy: Service) -> None:
    with busy.client() as client:
        wait_for(client, client.post("/api/train", json=busy.request()).json()["job_id"], "queued")
        assert client.get("/healthz").json() == {"status": "ok"}
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json() == {"status": "not ready", "checks": {"store": "ok", "ollama": "failed"}}, "no reason"
        assert "Not ready: ollama: " in busy.log
        text = client.get("/metrics").text
    for line in (
        'ia_homelab_training_jobs{status="queued"} 1.0',
        'ia_homelab_training_jobs{status="running"} 1.0',
        "ia_homelab_training_gpu_busy 1.0",
        "ia_homelab_training_ollama_up 0.0",
        'ia_homelab_training_http_requests_total{method="POST",status="202"} 1.0',
    ):
        assert line in text.splitlines(), text


def test_the_log_is_redacted(service: Service) -> None:
    run = service.lab.run("talks", "echo line; echo token=hf_abcdefghijklmnopqrstuv; echo Bearer abcdefghijkl; exit 3")
    service.lab.apply(run)
    with service.client() as client:
        told = client.get(f"/api/jobs/{run.id}/log?lines=10").json()
        assert told["lines"] == ["line", "token=hf_***", "Bearer ***"]
        job = client.get(f"/api/status/{run.id}").json()
        assert job["status"] == "failed" and job["error"]["step"] == "step-0"
        assert "hf_abc" not in client.get(f"/api/status/{run.id}").text
        assert client.get(f"/api/jobs/{run.id}/log?step=nothing").status_code == 404


def test_prompts_are_those_of_the_repository() -> None:
    assert len(json.loads(PROMPTS.read_text(encoding="utf-8"))) == 50
