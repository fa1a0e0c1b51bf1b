# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to an answering model, on real LLaMA-Factory, llama.cpp and Ollama.

Once with curl as in the specification, once with the unmodified ``openai`` client. Each trains the tiny model; a few
minutes together on two cores.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import typing as t
from pathlib import Path

import openai
import pytest

from ansible_collections.ia_homelab.llamafactory.tests.real.conftest import Server, free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import PROMPTS, Service

WAIT_SECONDS = 600.0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small real model with random weights."""
    return str(make_tiny_base(tmp_path_factory.mktemp("tiny") / "tiny-base"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Service]:
    """A service with the real tools."""
    root = tmp_path_factory.mktemp("real")
    (root / "ollama").mkdir()
    ollama = Server(os.environ["IA_OLLAMA_BIN"], root / "ollama", free_port())
    ollama.start()
    service = Service(
        root / "service",
        {
            "llamafactory_venv": os.environ["IA_LF_VENV"],
            "converter_venv": os.environ["IA_CONV_VENV"],
            "llama_cpp_dir": os.environ["IA_LLAMA_CPP_DIR"],
            "ollama_url": ollama.url,
            "accelerator": "cpu",
            "llamafactory_api_url": f"http://127.0.0.1:{free_port()}",
        },
    )
    yield service.start()
    service.close()
    ollama.stop()


def curl(*arguments: str) -> t.Any:
    """Return the output of curl."""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--noproxy", "*", *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def by_curl(service: Service, job_id: str) -> dict[str, t.Any]:
    """Poll a job until its end, with the request of the specification."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        job: dict[str, t.Any] = curl(f"{service.url}/api/status/{job_id}")
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return job
        assert time.monotonic() < end, job
        time.sleep(0.5)


@contextlib.contextmanager
def own_api(service: Service, model: str, adapter: str) -> t.Iterator[str]:
    """LLaMA-Factory's own API with an adapter that was never exported, where the service looks for it; its name."""
    name, url = "not-exported", str(service.settings["llamafactory_api_url"])
    environment = {
        **os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "DISABLE_VERSION_CHECK": "1",
        "API_MODEL_NAME": name, "API_HOST": "127.0.0.1", "API_PORT": url.rpartition(":")[2],
    }  # fmt: skip
    program = os.path.join(os.environ["IA_LF_VENV"], "bin", "llamafactory-cli")
    arguments = {
        "model_name_or_path": model, "adapter_name_or_path": adapter, "template": "qwen", "infer_dtype": "float32",
    }  # fmt: skip
    options = [part for key, value in arguments.items() for part in (f"--{key}", value)]
    with open(service.root / "api.log", "ab") as log:
        api = subprocess.Popen([program, "api", *options], env=environment, stdout=log, stderr=log, cwd=service.root)
    try:
        end = time.monotonic() + WAIT_SECONDS
        while name not in [one["id"] for one in curl(f"{service.url}/v1/models").get("data", [])]:
            assert api.poll() is None and time.monotonic() < end, (service.root / "api.log").read_text()[-3000:]
            time.sleep(0.5)
        yield name
    finally:
        api.kill()
        api.wait()


def question(row: t.Mapping[str, str]) -> str:
    """Return the user's message of a row."""
    return "\n".join(part for part in (row["instruction"], row["input"]) if part)


def test_the_workflow_of_the_specification_with_curl(real: Service, tiny: str) -> None:
    real.publish()
    body = {
        "model_name": tiny,
        "dataset": "homelab_prompts",
        "training_method": "lora",
        "lora_rank": 16,
        "num_epochs": 2,
        "learning_rate": 2e-4,
        "template": "qwen",
    }
    send = ("-X", "POST", "-H", "Content-Type: application/json", "-d")
    job = curl(*send, json.dumps(body), f"{real.url}/api/train")
    assert job["job_id"] and job["estimate"]["disk_bytes"] > 0
    done = by_curl(real, job["job_id"])
    assert done["status"] == "succeeded", done
    assert done["results"]["train"]
    curve = curl(f"{real.url}/api/jobs/{job['job_id']}/curve")
    assert len(curve) > 1 and all(point["loss"] > 0 for point in curve)

    adapter = real.lab.layout.artifact(
        "train", next(one["fingerprint"] for one in done["steps"] if one["kind"] == "train")
    )
    with own_api(real, tiny, adapter) as name:
        chat = {"model": name, "messages": [{"role": "user", "content": "Bonjour"}], "max_tokens": 5}
        answer = curl(*send, json.dumps(chat), f"{real.url}/v1/chat/completions")
        assert (answer["model"], answer["choices"][0]["message"]["role"]) == (name, "assistant")
        # it accepts any model name: only requests for its own name are forwarded
        refused = curl(*send, json.dumps({**chat, "model": "nobody"}), f"{real.url}/v1/chat/completions")
        assert "nobody" in refused["error"]["message"]

    export = curl(*send, json.dumps({"job_id": job["job_id"], "format": "gguf"}), f"{real.url}/api/export")
    assert export["trained_by"] == job["job_id"]
    assert export["pending"] == ["merge", "gguf-f16", "gguf-q4_K_M", "register-q4_K_M"], "it is not trained again"
    exported = by_curl(real, export["job_id"])
    assert exported["status"] == "succeeded", exported
    chat = {"model": exported["model"], "messages": [{"role": "user", "content": "Bonjour"}], "max_tokens": 5}
    answer = curl(*send, json.dumps(chat), f"{real.url}/v1/chat/completions")
    assert answer["choices"][0]["message"]["role"] == "assistant"
    (model,) = curl(f"{real.url}/api/models")["models"]
    assert model["served"] == [exported["model"]]
    assert model["lineage"]["dataset"]["rows"] == 50
    again = curl(*send, json.dumps(body), f"{real.url}/api/train")
    assert (again["job_id"], again["status"], again["created"]) == (job["job_id"], "succeeded", False)
    # all results exist already: nothing is to be done, and the status says so
    same = curl(*send, json.dumps({**body, "name": "of-the-same"}), f"{real.url}/api/train")
    assert (same["job_id"] != job["job_id"], same["status"], same["created"]) == (True, "succeeded", False)
    assert by_curl(real, same["job_id"])["status"] == "succeeded"
    told = curl(f"{real.url}/api/jobs/{same['job_id']}/events")["events"]
    assert told[-1]["message"] == "Succeeded."


def test_the_stock_openai_client(real: Service, tiny: str, tmp_path: Path) -> None:
    rows = json.loads(PROMPTS.read_text(encoding="utf-8"))
    path = tmp_path / "homelab.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            messages = [
                {"role": "system", "content": row["system"]},
                {"role": "user", "content": question(row)},
                {"role": "assistant", "content": row["output"]},
            ]
            stream.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    client = openai.OpenAI(base_url=f"{real.url}/v1", api_key="not-needed-on-loopback")
    with path.open("rb") as upload:
        file = client.files.create(file=upload, purpose="fine-tune")
    assert file.status == "processed"
    assert [one.id for one in client.files.list()] == [file.id]
    job = client.fine_tuning.jobs.create(
        model=tiny,
        training_file=file.id,
        suffix="Homelab model",
        seed=42,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 16, "batch_size": 5, "learning_rate_multiplier": 25}},
        },
        metadata={"who": "the test"},
        extra_body={"template": "qwen", "lora_rank": 32, "cutoff_len": 512, "warmup_ratio": 0},
    )
    assert job.status in ("queued", "running") and job.metadata == {"who": "the test"}
    assert job.id in [one.id for one in client.fine_tuning.jobs.list(limit=1)]
    end = time.monotonic() + WAIT_SECONDS
    while not any(event.type == "metrics" for event in client.fine_tuning.jobs.list_events(job.id)):
        assert time.monotonic() < end, job
        time.sleep(0.5)
    client.fine_tuning.jobs.pause(job.id)
    while client.fine_tuning.jobs.retrieve(job.id).status != "paused":  # it saves a checkpoint before it stops
        assert time.monotonic() < end, job
        time.sleep(0.5)
    kept = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert kept[0].fine_tuning_job_id == job.id and 0 < kept[0].step_number < 160
    job = client.fine_tuning.jobs.resume(job.id)
    while job.status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < end, job
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=20))
    assert events[0].message == "Succeeded." and events[-1].message == "Queued."
    assert len({event.id for event in events}) == len(events)
    assert sum(event.type == "metrics" for event in events) > 20
    assert job.hyperparameters.n_epochs == 16 and job.hyperparameters.batch_size == 5
    assert client.files.content(job.result_files[0]).text.startswith("step,train_loss")
    assert client.files.retrieve(job.result_files[0]).purpose == "fine-tune-results"
    assert job.trained_tokens and job.trained_tokens > 16 * 50
    # it names the version and not the alias, which moves
    assert job.fine_tuned_model in [model.id for model in client.models.list()]
    (version,) = curl(f"{real.url}/api/models?name={str(job.fine_tuned_model).partition(':')[0]}")["models"]
    assert version["tag"] == job.fine_tuned_model and version["served"]
    with pytest.raises(openai.ConflictError, match="is served as"):
        client.models.delete(str(job.fine_tuned_model))
    with pytest.raises(openai.ConflictError, match=f"such as {job.fine_tuned_model}"):
        client.models.delete(version["served"][0])
    with pytest.raises(openai.NotFoundError):
        client.models.delete("nobody")
    right = 0
    for row in rows[:10]:
        answer = client.chat.completions.create(
            model=str(job.fine_tuned_model),
            messages=[{"role": "user", "content": question(row)}],
            temperature=0,
            seed=42,
            max_completion_tokens=200,
        )
        right += answer.choices[0].message.content == row["output"]
    assert right >= 8, right
    stream = client.chat.completions.create(
        model=str(job.fine_tuned_model),
        messages=[{"role": "user", "content": question(rows[0])}],
        temperature=0,
        max_tokens=20,
        stream=True,
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    model = str(job.fine_tuned_model)
    assert client.completions.create(model=model, prompt="Bonjour", max_tokens=5).choices[0].text
    # from 0.30 on Ollama has embeddings only of models that are made for them
    with pytest.raises(openai.InternalServerError, match="does not support embeddings"):
        client.embeddings.create(model=model, input=["Bonjour", "Sauvegarde"])
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.fine_tuning.jobs.create(model=tiny, training_file=file.id, hyperparameters={"n_epoch": 3})  # type: ignore[typeddict-unknown-key]
    assert "n_epochs" in str(refused.value)
