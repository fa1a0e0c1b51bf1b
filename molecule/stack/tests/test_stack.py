# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack from the users' view: WebUI, API, Ollama, the training service and the fine-tuned model answer."""

from __future__ import annotations

import base64
import json
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import pytest

PROMPTS = json.loads(
    (Path(__file__).resolve().parents[3] / "playbooks/files/homelab_prompts.json").read_text(encoding="utf-8")
)
TOKEN = "/etc/ia-homelab/training-service/token"
STACKS = ("/etc/ia-homelab/llamafactory", "/etc/ia-homelab/ollama")


def fetch(host: t.Any, url: str, body: t.Any = None, token: str = "") -> str:
    """The response of a URL, requested on the host itself."""
    command = "curl --silent --show-error --fail --max-time 120 %s"
    if token:
        command += f" --header 'Authorization: Bearer {token}'"
    if body is None:
        answer: str = host.check_output(command, url)
    else:
        answer = host.check_output(
            command + " --header 'Content-Type: application/json' --data %s", url, json.dumps(body)
        )
    return answer


@pytest.fixture(scope="module", autouse=True)
def everything_is_healthy(host: t.Any) -> None:
    """Wait until all containers are healthy; report the logs of those that are not."""
    deadline = time.monotonic() + 300
    while True:
        states: dict[str, str] = {}
        for stack in STACKS:
            listed = host.run(f"docker compose --project-directory {stack} ps --all --format json").stdout
            states.update((one["Name"], one["Health"]) for one in map(json.loads, listed.splitlines()))
        if len(states) == 4 and set(states.values()) == {"healthy"}:
            return
        if time.monotonic() > deadline:
            lines = [host.run(f"docker logs --tail 20 {name} 2>&1").stdout for name in states]
            pytest.fail(f"{states}\n" + "\n".join(lines))
        time.sleep(3)


def test_webui_serves_its_page(host: t.Any) -> None:
    assert "gradio" in fetch(host, "http://127.0.0.1:7860/")


def test_llamafactory_api_lists_its_model(host: t.Any) -> None:
    assert json.loads(fetch(host, "http://127.0.0.1:8001/v1/models"))["data"]


def test_training_service_answers(host: t.Any) -> None:
    fetch(host, "http://127.0.0.1:8000/healthz")
    models = "http://127.0.0.1:8000/v1/models"
    token = host.file(TOKEN).content_string.strip()
    assert [one["id"] for one in json.loads(fetch(host, models, token=token))["data"]]


def test_training_service_needs_the_token_that_the_role_made(host: t.Any) -> None:
    """Also on loopback: other users of the host cannot read the token, so they cannot train."""
    token = host.file(TOKEN)
    assert (token.user, token.group, token.mode) == ("root", "ia-homelab-training", 0o640)
    status = "curl --silent --output /dev/null --write-out %{http_code} http://127.0.0.1:8000/api/jobs"
    assert host.check_output(status) == "401"
    assert host.check_output(f"{status} --header 'Authorization: Bearer {token.content_string.strip()}'") == "200"
    reads = "setpriv --reuid {} --regid {} --init-groups cat"
    assert host.run(f"{reads.format('nobody', 'nogroup')} {TOKEN}").rc != 0
    assert host.run(f"{reads.format('llamafactory', 'llamafactory')} {TOKEN}").rc != 0


def test_ollama_gives_trained_answers(host: t.Any) -> None:
    for row in (PROMPTS[0], PROMPTS[6], PROMPTS[14]):
        question = "\n".join(filter(None, [row["instruction"], row.get("input")]))
        body = {
            "model": "homelab-model",
            "stream": False,
            "messages": [{"role": "user", "content": question}],
            "options": {"temperature": 0, "seed": 42},
        }
        answer = json.loads(fetch(host, "http://127.0.0.1:11434/api/chat", body))
        assert answer["message"]["content"] == row["output"]


def address_of(host: t.Any) -> str:
    """Address of the host for other machines."""
    return str(host.check_output("ip -4 -brief address show dev eth0").split()[2].split("/")[0])


@pytest.mark.parametrize("port, path, expected", [(7860, "/", "gradio"), (11434, "/api/tags", "homelab-model:latest")])
def test_other_machines_need_a_password(host: t.Any, port: int, path: str, expected: str) -> None:
    """Requests are sent from the machine of the tests."""
    url = f"http://{address_of(host)}:{port}{path}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for password in ("", "only-for-this-tes"):
        request = urllib.request.Request(url)
        if password:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"somebody:{password}".encode()).decode())
        with pytest.raises(urllib.error.HTTPError) as refused:
            opener.open(request, timeout=60)
        assert refused.value.code == 401
    request.add_header("Authorization", "Basic " + base64.b64encode(b"somebody:only-for-this-test").decode())
    with opener.open(request, timeout=60) as answer:
        assert expected in answer.read().decode()


def test_only_ssh_and_proxy_listen_on_the_network(host: t.Any) -> None:
    proxied = {f"{address_of(host)}:{port}" for port in (7860, 11434)}
    listening = host.check_output("ss --listening --tcp --numeric --no-header").splitlines()
    places = {line.split()[3] for line in listening}
    assert {place for place in places if not place.startswith(("127.", "[::1]"))} <= {
        "0.0.0.0:22",
        "[::]:22",
        *proxied,
    }


def test_files_of_containers_do_not_belong_to_root(host: t.Any) -> None:
    weights = host.check_output("find /data/llamafactory/outputs -name '*.safetensors' -printf '%u '").split()
    assert set(weights) == {"llamafactory"}


def test_store_belongs_to_the_job_user(host: t.Any) -> None:
    """The training service continues these runs as that user."""
    store = " ".join(f"/data/llamafactory/{name}" for name in ("jobs", "core", "datasets", "outputs"))
    assert host.check_output(f"find {store} -user root") == ""


def test_units_start_at_boot(host: t.Any) -> None:
    for unit in ("docker", "ia-homelab-llamafactory", "ia-homelab-ollama", "ia-homelab-training"):
        assert host.service(unit).is_enabled
