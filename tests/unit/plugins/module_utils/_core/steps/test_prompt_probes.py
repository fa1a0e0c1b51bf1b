# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the probes of a registration come from: its training, or a rendering with the tokenizer of the base."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.text_arguments import (
    TEXT_ARGUMENTS,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import prompt_probes
from ansible_collections.ia_homelab.llamafactory.tests.support.model_store import ModelStore

RENDERED = {"plain": {"text": "<|im_start|>…", "ids": [1, 2]}}
#: A stand-in for the interpreter of LLaMA-Factory's environment: it notes each call and answers with one probe.
PYTHON = """#!/bin/sh
cat >> {calls}
printf '%s' '{answer}'
"""


@pytest.fixture
def ctx(tmp_path: Path) -> StepContext:
    """The registration of a training of the template qwen, whose base is a directory with a tokenizer."""
    store = ModelStore(tmp_path / "data")
    steps = store.make(1)
    register = steps[-1].spec
    settings = {**register.settings, "template": "llama3"}
    spec = StepSpec("register", register.fingerprint, settings, dict(register.upstream), dict(register.options))
    job = tmp_path / "job"
    job.mkdir()
    made = StepContext(store.layout, spec, _toolchain(tmp_path), str(tmp_path / "work"), str(job))
    base = Path(store.layout.artifact("base", steps[0].spec.fingerprint))
    (base / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}, "bos_token": None}))
    return made


def _toolchain(root: Path, **answer: t.Any) -> t.Any:
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain

    venv = root / "venv"
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    python = venv / "bin" / "python"
    text = json.dumps({"date": "29 Nov 2026", "probes": RENDERED, **answer}, ensure_ascii=True)
    python.write_text(PYTHON.format(calls=root / "calls", answer=text))
    python.chmod(0o755)
    return Toolchain(llamafactory_venv=str(venv))


def _record(ctx: StepContext, **record: t.Any) -> None:
    training = prompt_probes.training_of(ctx)
    assert training is not None
    path = Path(ctx.layout.artifact("train", training.fingerprint), "probes.json")
    path.write_text(json.dumps({"template": "llama3", "probes": RENDERED, **record}))


def test_probes_of_the_training_are_used(ctx: StepContext, tmp_path: Path) -> None:
    _record(ctx, date="05 Mar 2026")
    found = prompt_probes.probes_of(ctx)
    assert (found.template, found.rendered, found.reason) == ("llama3", RENDERED, None)
    training = prompt_probes.training_of(ctx)
    assert training is not None and training.day == "05 Mar 2026"
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize("record", [{"probes": {}, "error": "KeyError: 1"}, {"template": "qwen"}])
def test_probes_are_rendered_where_the_training_has_none(
    ctx: StepContext, tmp_path: Path, record: dict[str, t.Any]
) -> None:
    _record(ctx, **record)
    assert prompt_probes.probes_of(ctx).rendered == RENDERED
    asked = json.loads((tmp_path / "calls").read_text())
    assert asked["template"] == "llama3" and [probe["name"] for probe in asked["probes"]][:1] == ["plain"]
    assert os.path.isfile(os.path.join(asked["tokenizer"], "tokenizer_config.json"))
    prompt_probes.probes_of(ctx)
    assert json.loads((tmp_path / "calls").read_text()) == asked, "they are rendered once"


def test_day_of_the_training_replaces_today(ctx: StepContext, tmp_path: Path) -> None:
    """LLaMA-Factory writes the day into descriptions of tools (llama3)."""
    rendered = {"tools": {"text": "Today Date: 29 Nov 2026", "ids": [1]}, "plain": {"error": "KeyError: x"}}
    made = dataclasses.replace(ctx, toolchain=_toolchain(tmp_path, probes=rendered))
    training = prompt_probes.training_of(made)
    assert training is not None
    receipt = Path(made.layout.artifact("train", training.fingerprint), "receipt.json")
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), "started_at": "2026-03-05T12:00:00.000Z"}))
    found = prompt_probes.probes_of(made).rendered
    assert found["tools"]["text"] == "Today Date: 05 Mar 2026" and found["plain"] == {"error": "KeyError: x"}


def test_reason_is_given_where_there_are_none(ctx: StepContext) -> None:
    without = dataclasses.replace(ctx, toolchain=dataclasses.replace(ctx.toolchain, llamafactory_venv=""))
    assert "in an image only" in str(prompt_probes.probes_of(without).reason)
    broken = dataclasses.replace(ctx, toolchain=dataclasses.replace(ctx.toolchain, llamafactory_venv="/gone"))
    assert "/gone" in str(prompt_probes.probes_of(broken).reason)
    unknown = dataclasses.replace(ctx, spec=dataclasses.replace(ctx.spec, upstream={"gguf": "f" * 64}))
    assert "receipt of the training is missing" in str(prompt_probes.probes_of(unknown).reason)


def test_training_is_asked_once(ctx: StepContext, tmp_path: Path) -> None:
    base = str(tmp_path / "data")
    resolved = {"template": "qwen3", "extra": {"enable_thinking": False, "logging_steps": 3}}
    Path(ctx.work).mkdir()
    asked = prompt_probes.prepare(ctx, resolved, base)
    request = json.loads(Path(asked["IA_PROBES_REQUEST"]).read_text())
    assert request["arguments"] == {"enable_thinking": False}
    assert request["output"] == os.path.join(ctx.work, "probes.json")
    assert "thought" not in [probe["name"] for probe in request["probes"]]
    Path(ctx.work, "probes.json").write_text("{}")
    assert prompt_probes.prepare(ctx, resolved, base) == {}, "an earlier attempt has rendered them"


@pytest.mark.parametrize(("thinking", "arguments"), [("off", {"enable_thinking": False}), ("keep", {}), ("", {})])
def test_probes_follow_thinking(thinking: str, arguments: dict[str, bool]) -> None:
    asked = prompt_probes.request({"template": "qwen3", "thinking": thinking}, "/base", "", "")
    assert asked["arguments"] == arguments
    assert ("thought" in [probe["name"] for probe in asked["probes"]]) is (thinking != "off")


def test_training_with_an_unknown_template_renders_none(ctx: StepContext, tmp_path: Path) -> None:
    assert prompt_probes.prepare(ctx, {"template": "none of them"}, str(tmp_path)) == {}


def test_the_program_gets_the_arguments_that_it_reads() -> None:
    """The names that the program asks ``arguments`` for are those that the table of arguments marks."""
    tree = ast.parse(Path(prompt_probes.PROGRAMS, "render_probes.py").read_text(encoding="utf-8"))
    asked = {
        call.args[0]
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "arguments.get"
    }
    names = {each.value for each in asked if isinstance(each, ast.Constant)}
    # one loop asks for its variable
    assert [ast.unparse(each) for each in asked if not isinstance(each, ast.Constant)] == ["name"]
    loops = [
        loop.iter
        for loop in ast.walk(tree)
        if isinstance(loop, ast.For) and ast.unparse(loop.target) == "(name, special)"
    ]
    names |= {name for name, _special in ast.literal_eval(loops[0])}
    marked = {name for name, argument in TEXT_ARGUMENTS.items() if argument.in_probes}
    assert names == marked
    extra = dict.fromkeys((*marked, "logging_steps"), "x")
    request = prompt_probes.request({"template": "qwen", "extra": extra}, "/base", "", "")
    assert set(request["arguments"]) == marked
