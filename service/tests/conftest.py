# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are started for a test, and one with a model that calls tools."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port, program_of
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service


@pytest.fixture
def start(tmp_path: Path) -> t.Iterator[t.Callable[..., Service]]:
    """Start services with given settings; they and their jobs are stopped afterwards."""
    made: list[Service] = []

    def start(name: str = "service", run: bool = True, **settings: t.Any) -> Service:
        service = Service(tmp_path / name, settings)
        made.append(service)
        return service.start() if run else service

    yield start
    for service in made:
        service.close()


@pytest.fixture
def service(start: t.Callable[..., Service]) -> Service:
    """An empty service."""
    return start()


@pytest.fixture(scope="session")
def idle(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Service]:
    """An empty service, shared by all tests that change nothing."""
    service = Service(tmp_path_factory.mktemp("idle") / "service", {}).start()
    yield service
    service.close()


@pytest.fixture(scope="session")
def calling_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model with random weights, and a vocabulary in which the conversations of calling_model.py are short."""
    # here, since it imports what the other tests do without
    from ansible_collections.ia_homelab.llamafactory.service.tests.calling_model import rows

    folder = tmp_path_factory.mktemp("base")
    texts = [json.dumps(row, ensure_ascii=False) for row in rows()]
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps([{"instruction": text, "output": text} for text in texts]), encoding="utf-8")
    return str(make_tiny_base(folder / "base", "--prompts", str(prompts), "--layers", "2"))


@pytest.fixture(scope="session")
def calling_service(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Service]:
    """A service with the real tools, started by :func:`calling_models`."""
    made = Service(
        tmp_path_factory.mktemp("tools") / "service",
        {
            "llamafactory_venv": os.environ["IA_LF_VENV"],
            "converter_venv": os.environ["IA_CONV_VENV"],
            "llama_cpp_dir": os.environ["IA_LLAMA_CPP_DIR"],
            "accelerator": "cpu",
        },
    )
    yield made
    made.close()


@pytest.fixture(scope="module", params=["current", "old"])
def calling_models(
    request: pytest.FixtureRequest,
    calling_service: Service,
    calling_base: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> t.Iterator[dict[str, str]]:
    """Start the service with each Ollama; the models in it that call tools, by chat template.

    What was trained for one is not trained again for the next, nor in the next module.
    """
    from ansible_collections.ia_homelab.llamafactory.service.tests.calling_model import MODELS, register

    ollama = Server(program_of(request.param), tmp_path_factory.mktemp("ollama"), free_port())
    ollama.start()
    calling_service.settings["ollama_url"] = ollama.url
    calling_service.start()
    try:
        yield {template: register(calling_service, calling_base, template) for template in MODELS}
    finally:
        calling_service.stop()
        ollama.stop()
