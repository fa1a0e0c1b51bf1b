# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests give no argument of LLaMA-Factory that runs code, names files or sends data elsewhere, on any interface."""

from __future__ import annotations

import asyncio
import json
import os
import typing as t

import pytest
from mcp import Client

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import llamafactory_arguments
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.known_names import (
    MANAGED_ARGUMENTS,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.options import OPTIONS
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_service.application import extra_arguments
from ia_homelab_service.application.errors import FieldErrors
from ia_homelab_service.application.finetune_request import parse_request

ASKED = {"base_model": "qwen2.5:0.5b", "dataset": "homelab"}

REFUSED = {
    "trust_remote_code": (True, "runs Python code"),
    "deepspeed": ("/tmp/ds.json", "names a file"),
    "new_special_tokens_config": ("/tmp/tokens.yaml", "names a file"),
    "profiler_output_dir": ("/tmp/profile", "names a file"),
    "enable_torch_profiler": (True, "names a file"),
    "use_swanlab": (True, "sends data"),
    "swanlab_lark_webhook_url": ("http://192.0.2.1/", "sends data"),
    "hub_model_id": ("someone/model", "sends data"),
    "ray_init_kwargs": ({"address": "192.0.2.1"}, "cluster"),
    "kt_weight_path": ("/tmp/weights", "another program"),
    "use_kt": (True, "another program"),
    "reward_model": ("http://192.0.2.1/", "another model"),
    "argument_of_a_later_version": (1, "not on the list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_argument_that_is_not_accepted_is_refused_by_name(name: str) -> None:
    value, reason = REFUSED[name]
    for spelling in (name, f"--{name.replace('_', '-')}"):
        with pytest.raises(FieldErrors) as refused:
            parse_request({**ASKED, "extra": {spelling: value, "packing": True}})
        (error,) = refused.value.errors
        assert error.field == "extra"
        assert f"extra.{name} is not accepted" in error.message and reason in error.message
        assert "training_service_allow_remote_code" in error.hint
    checked = parse_request({**ASKED, "extra": {name: value}}, allow_remote_code=True)
    assert checked.declaration["extra"] == {name: value}


def test_every_refused_argument_is_reported_with_the_other_errors() -> None:
    with pytest.raises(FieldErrors) as refused:
        parse_request({**ASKED, "epochs": -1, "extra": {"use_kt": True, "trust_remote_code": False}})
    messages = [error.message for error in refused.value.errors]
    assert sum("is not accepted in a request" in message for message in messages) == 2
    assert any("epochs" in message for message in messages)


def test_accepted_arguments_are_those_that_change_how_a_training_computes() -> None:
    extra = {"flash_attn": "sdpa", "packing": True, "optim": "adafactor", "use_rslora": True, "max_grad_norm": 0.5}
    assert parse_request({**ASKED, "extra": extra}).declaration["extra"] == extra


def test_the_list_has_only_arguments_of_llamafactory() -> None:
    supported = llamafactory_arguments.read_arguments(os.environ["IA_LF_VENV"]).arguments
    assert set(supported) >= extra_arguments.ACCEPTED
    named = {option.lf_argument for option in OPTIONS if option.lf_argument} | set(MANAGED_ARGUMENTS)
    assert not extra_arguments.ACCEPTED & named, "these are refused by the core: they have an option of their own"
    # neither the name of a file nor an address: the accepted arguments with text are choices, modules and tokens
    kinds = ("_dir", "_path", "_file", "_config", "_url", "_token", "_key", "_addr", "_id", "_folder", "_code")
    assert [name for name in extra_arguments.ACCEPTED if name.endswith(kinds)] == []


def test_every_interface_refuses_it(start: t.Callable[..., Service]) -> None:
    service = start()
    service.publish("homelab")
    request = {**ASKED, "extra": {"trust_remote_code": True}}
    told = "extra.trust_remote_code is not accepted in a request: it runs Python code of the model's repository."
    with service.client() as client:
        for path in ("/api/train", "/api/plan", "/api/training/llamafactory/train"):
            reply = client.post(path, json=request)
            assert reply.status_code == 422, reply.text
            assert [error["message"] for error in reply.json()["errors"]] == [told]
        file = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", ROW)}).json()
        body = {"model": ASKED["base_model"], "training_file": file["id"], "extra": request["extra"]}
        reply = client.post("/v1/fine_tuning/jobs", json=body)
        assert reply.status_code == 422, reply.text
        assert told in reply.json()["error"]["message"]
        query = {**ASKED, "extra": json.dumps(request["extra"])}
        view = client.get("/plan", params=query, headers={"Accept": "text/html"})
        assert "extra.trust_remote_code is not accepted" in view.text
        assert client.get("/api/jobs").json()["jobs"] == []

    async def over_mcp() -> None:
        async with Client(f"{service.url}/mcp") as session:
            for tool in ("llamafactory_train", "llamafactory_estimate"):
                arguments = {
                    "model": ASKED["base_model"], "dataset": "homelab", "options": {"extra": request["extra"]},
                }  # fmt: skip
                found = await session.call_tool(tool, arguments)
                assert found.is_error
                assert told in str(t.cast(t.Any, found.content[0]).text)

    asyncio.run(over_mcp())


def test_the_setting_allows_it(start: t.Callable[..., Service]) -> None:
    service = start(allow_remote_code=True)
    service.publish("homelab")
    with service.client() as client:
        reply = client.post("/api/plan", json={**service.request(), "dataset": "homelab", "extra": {"use_kt": True}})
    # the next check reads the arguments of LLaMA-Factory, which this service does not have
    assert (reply.status_code, "LLaMA-Factory is not installed" in reply.text) == (503, True), reply.text


ROW = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
