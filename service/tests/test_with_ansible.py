# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fifty concurrent clients of all interfaces on one store: one run at a time, none lost, equal requests are one job."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import httpx
import mcp
import openai

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import load
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import ROOT, Service, collections, library

REST, OPENAI, MCP, ENGINE, PLAYS = 16, 10, 12, 10, 2
#: Different requests: with as many clients each is asked for several times.
KINDS = 6

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ia_homelab.llamafactory.job:
        state: submitted
        data_dir: {data_dir}
        accelerator: cpu
        ollama_url: http://127.0.0.1:9
        finetunes:
          # no Ollama runs here
          - {{name: ansible, base_model: {base}, dataset: homelab_prompts, template: qwen, preflight_check: warn}}
"""


def playbook(path: Path, **variables: str) -> str:
    """Run a play and return its output. Its modules know the occupant's step."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment.update(
        ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),
        ANSIBLE_PYTHON_INTERPRETER=sys.executable,
        ANSIBLE_COLLECTIONS_PATH=collections(),
    )
    more = [part for key, value in variables.items() for part in ("-e", f"{key}={value}")]
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-c", "local", str(path), *more],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_fifty_concurrent_clients(service: Service) -> None:
    service.publish()
    occupant = service.occupy()
    base = service.base()
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=120)
    rows = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    file = client.files.create(file=("rows.jsonl", rows), purpose="fine-tune")
    play = service.root / "play.yml"
    play.write_text(PLAY.format(data_dir=service.lab.data, base=base))

    def by_rest(number: int) -> str:
        with httpx.Client(base_url=service.url, trust_env=False, timeout=120) as one:
            reply = one.post("/api/train", json=service.request(lora_rank=8 + number % KINDS))
        assert reply.status_code == 202, reply.text
        return str(reply.json()["job_id"])

    def by_openai(number: int) -> str:
        more = {"template": "qwen", "lora_rank": 8 + number % KINDS, "preflight_check": "warn"}
        return client.fine_tuning.jobs.create(model=base, training_file=file.id, suffix="o", extra_body=more).id

    def by_mcp(number: int) -> str:
        # the same request as over REST: the same job
        options = {"template": "qwen", "lora_rank": 8 + number % KINDS}
        arguments = {"model": base, "dataset": "homelab_prompts", "method": "lora", "options": options}

        async def ask() -> str:
            async with mcp.Client(f"{service.url}/mcp") as one:
                while True:
                    found = await one.call_tool("llamafactory_train", arguments)
                    assert not found.is_error and found.structured_content, found.content
                    if found.structured_content["status"] != "starting":
                        return str(found.structured_content["job_id"])
                    await asyncio.sleep(1)

        return asyncio.run(ask())

    def by_engine(number: int) -> str:
        # like a module, in a separate process
        code = (
            "import sys\nfrom ia_homelab_core.engine.engine import Engine\n"
            "from ia_homelab_core.planning.planner import plan\n"
            "from ia_homelab_core.planning.request import Host, Request\n"
            "from ia_homelab_core.runs.spec import Toolchain\ne = Engine(sys.argv[1])\n"
            "raw = {'name': 'engine', 'base_model': sys.argv[2], 'dataset': 'homelab_prompts', 'template': 'qwen',\n"
            "       'lora_rank': int(sys.argv[3])}\n"
            "host = Host(Toolchain(ollama_url='http://127.0.0.1:9'), 'cpu')\n"
            "run = plan(e.layout, Request.finetune(raw), host)\n"
            "e.submit(run)\nprint(run.id)\n"
        )
        environment = {**os.environ, "PYTHONPATH": library()}
        argv = [sys.executable, "-c", code, str(service.lab.data), base, str(8 + number % KINDS)]
        return subprocess.run(
            argv, env=environment, check=True, capture_output=True, text=True, timeout=300
        ).stdout.strip()

    def by_ansible(_number: int) -> str:
        playbook(play)
        declared = {"name": "ansible", "base_model": base, "dataset": "homelab_prompts", "template": "qwen"}
        declared["preflight_check"] = "warn"
        host = Host(Toolchain(ollama_url="http://127.0.0.1:9"), "cpu", write=False)
        return plan(service.lab.layout, Request.finetune(declared), host).id

    work: list[tuple[t.Callable[[int], str], int]] = []
    for ask, count in ((by_rest, REST), (by_openai, OPENAI), (by_mcp, MCP), (by_engine, ENGINE), (by_ansible, PLAYS)):
        work += [(ask, number) for number in range(count)]
    assert len(work) == 50
    with concurrent.futures.ThreadPoolExecutor(len(work)) as pool:
        given = list(pool.map(lambda one: one[0](one[1]), work))
    by_way = [{given[index] for index, one in enumerate(work) if one[0] is ask} for ask in (by_rest, by_mcp)]
    assert by_way[0] == by_way[1], "what is asked for by REST and by MCP is the same job"
    assert len(set(given)) == 3 * KINDS + 1, sorted(set(given))
    queue = service.lab.store.active()
    ids = [record.id for record in queue]
    assert sorted(ids) == sorted({*given, occupant}), "none is lost, none is there twice"
    assert len({record.run.seq for record in queue if record.run}) == len(queue)
    exclusive = [job for record in queue for job in record.jobs if job.exclusive and job.outcome is None]
    assert [job.directory.split("/")[-2] for job in exclusive] == [occupant], "one has the machine"
    assert load(service.lab.layout, file.id).rows == 1
    with service.client() as one:
        listed = [job["job_id"] for job in one.get("/api/jobs").json()["jobs"]]
    assert sorted(listed) == sorted(ids)
    # beside the original lies the collection as it is shipped, which Ansible would prefer
    status = Path(shutil.copy(ROOT / "playbooks" / "status.yml", service.root))
    told = playbook(
        status,
        finetune_hosts="localhost", llamafactory_data_dir=str(service.lab.data), finetune_limit="100",
        ollama_url="http://127.0.0.1:9",
    )  # fmt: skip
    assert [job_id for job_id in ids if job_id not in told] == [], "whoever asked, a playbook tells it"
