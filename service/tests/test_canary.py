# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub's token, while the service resolves and downloads a gated model: only the hub sees it.

The hub is a stand-in (see ``hub_stand_in``). The training afterwards fails, because there are no tools.
"""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ansible_collections.ia_homelab.llamafactory.tests.support.token_watch import Watch, holding

OURS, THEIRS = "homelab/Gated", "homelab/Closed"
#: In the file that the service is told of.
CANARY = "hf_CanaryOfTheServicesTokenFile0123456789"
#: In the service's own environment: it has no business in that of a job.
EXPORTED = "hf_CanaryOfTheServicesEnvironment9876543210"
WAIT_SECONDS = 120.0


def test_only_the_hub_sees_the_token(
    start: t.Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(CANARY + "\n")
    token_file.chmod(0o600)
    with HubStandIn() as hub, Watch(str(tmp_path / "service" / "data"), [CANARY], [EXPORTED]) as watch:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", EXPORTED)
        service = start(run=False, token_file=str(token_file), accelerator="cpu").start(own=True)
        base = Path(service.base())
        hub.add(OURS, base, gated=True, readers={CANARY})
        hub.add(THEIRS, base, gated=True)
        service.publish()
        assert service.process is not None
        environment = Path(f"/proc/{service.process.pid}/environ").read_bytes()
        assert EXPORTED.encode() in environment and CANARY.encode() not in environment
        told = []
        with service.client() as client:
            refused = client.post("/api/train", json=service.request(model_name=THEIRS))
            assert refused.status_code >= 400 and "token" in refused.text
            asked = client.post("/api/train", json=service.request(model_name=OURS))
            assert asked.status_code == 202, asked.text
            job = asked.json()["job_id"]
            end = time.monotonic() + WAIT_SECONDS
            while client.get(f"/api/status/{job}").json()["status"] not in ("failed", "succeeded"):
                assert time.monotonic() < end, service.log[-3000:]
                time.sleep(0.2)
            told += [refused.text, asked.text]
            told += [client.get(path).text for path in (f"/api/status/{job}", "/api/jobs", f"/api/jobs/{job}/log")]
            told += [client.post("/api/train", json=service.request(model_name=f"homelab/{CANARY}")).text]
    receipts = [json.loads(path.read_text()) for path in (service.lab.data / "models" / "base").glob("*/receipt.json")]
    assert [receipt["settings"]["hub"] for receipt in receipts] == [OURS], "it was fetched, with the token"
    assert {seen.token for seen in hub.seen if not seen.cdn} == {CANARY}
    assert not any(seen.token for seen in hub.seen if seen.cdn)
    assert watch.rounds > 5 and watch.jobs, "it has seen the jobs"
    assert watch.found == set()
    # the last one is the test's own request, with the token as the name of a model: it is not echoed either
    assert [text for text in told if CANARY in text or EXPORTED in text] == []
    assert holding(tmp_path, [CANARY, EXPORTED], but={token_file}) == []
