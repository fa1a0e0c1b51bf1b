# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests generated from the OpenAPI document by schemathesis: no server errors, all responses as documented."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service

#: What is lenient on purpose ("2e-4" is a number, as from YAML) is no failure, so negative_data_rejection is left out.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"

#: Schemathesis itself, but patient for a moment only where a request may ask to be answered when something happens:
#: for a run that waits in the queue that is never. The dataset of that run is not deleted.
PROGRAM = """
import schemathesis
from schemathesis.cli import schemathesis as command

@schemathesis.hook
def before_call(context, case, kwargs):
    wait = (case.query or {}).get("wait")
    if isinstance(wait, (int, float)) and 0.2 < wait <= 60:
        case.query["wait"] = 0.2
    # without its dataset, resuming the run that waits is answered with 503, as documented
    if case.method == "DELETE" and (case.path_parameters or {}).get("name") == "homelab_prompts":
        case.path_parameters["name"] = "another"

command()
"""


def test_responses_are_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubStandIn() as hub:
        # names are resolved by a stand-in for the hub, which has no models
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        service = Service(tmp_path / "service", {})
        try:
            service.start()
            service.publish()
            service.occupy()
            with service.client() as client:
                client.post("/api/train", json=service.request())
            done = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    PROGRAM,
                    *("run", f"{service.url}/api/openapi.json", "--url", service.url, "--checks", CHECKS),
                    *("--max-examples", "8", "--phases", "examples,coverage,fuzzing", "--seed", "1"),
                    # requests for models are forwarded to Ollama, which does not run here: 502 is expected
                    *("--exclude-path-regex", "^/v1/(models|chat|completions|embeddings)|^/api/models/"),
                    *("--request-timeout", "30", "--no-color"),
                ],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            assert done.returncode == 0, done.stdout[:9000] + done.stdout[-3000:]
            assert service.process is not None and service.process.poll() is None
        finally:
            service.close()
    assert "Traceback" not in service.log, service.log[-4000:]
