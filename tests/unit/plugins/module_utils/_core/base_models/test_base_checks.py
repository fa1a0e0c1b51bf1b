# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a base's small files: what is refused, what is noted, when a check runs, and that its result is kept.

The tools are stand-ins: an environment whose Python is that of the tests and whose transformers is one table. The real
ones are in tests/real/test_base_checks_real.py.
"""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import base_checks, resolution
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.installed_tools import (
    read_tools,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.base_lab import (
    CHATML,
    CONFIG,
    chat_base,
    stand_in_tools,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn

WITH_TOOLS = "{% if tools %}Tools: {{ tools | tojson }}\n{% endif %}" + CHATML


@pytest.fixture
def tools(tmp_path: Path) -> Toolchain:
    return stand_in_tools(tmp_path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return chat_base(tmp_path)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "data"))


def subject(base: Path, template: str = "chatml", **more: t.Any) -> base_checks.Subject:
    identity = resolution.BaseIdentity({"directory": "d" * 64}, str(base), "a base")
    return base_checks.Subject(identity, template, **{"converted": True, "remote_code": False, **more})


def problem(layout: Layout, about: base_checks.Subject, tools: Toolchain) -> str:
    result = base_checks.check(layout, about, tools, True)
    with pytest.raises(InputError) as caught:
        base_checks.require(result, about.base)
    return f"{caught.value.message} {caught.value.hint}"


def notes(layout: Layout, about: base_checks.Subject, tools: Toolchain) -> list[str]:
    result = base_checks.check(layout, about, tools, True)
    assert result.problem is None and result.unchecked is None
    return [str(note) for note in result.notes]


def configure(base: Path, **more: t.Any) -> None:
    (base / "config.json").write_text(json.dumps({**CONFIG, **more}))


def test_sound_base_has_no_notes(layout: Layout, base: Path, tools: Toolchain) -> None:
    assert notes(layout, subject(base), tools) == []


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "compressed-tensors"])
def test_quantized_weights(layout: Layout, base: Path, tools: Toolchain, method: str) -> None:
    configure(base, quantization_config={"quant_method": method})
    assert f"quantized with {method}" in problem(layout, subject(base), tools)


@pytest.mark.parametrize("method", ["mxfp4", "fp8"])
def test_weights_that_llamafactory_dequantizes(layout: Layout, base: Path, tools: Toolchain, method: str) -> None:
    configure(base, quantization_config={"quant_method": method})
    assert notes(layout, subject(base), tools) == []


def test_architecture_that_llamafactory_does_not_know(layout: Layout, base: Path, tools: Toolchain) -> None:
    configure(base, model_type="qwen9")
    assert "does not know its architecture 'qwen9'" in problem(layout, subject(base), tools)


def test_architecture_of_the_models_own_code(layout: Layout, base: Path, tools: Toolchain) -> None:
    configure(base, model_type="own", auto_map={"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"})
    assert "extra: {trust_remote_code: true}" in problem(layout, subject(base), tools)
    assert notes(layout, subject(base, remote_code=True), tools) == []


def test_architecture_that_the_converter_does_not_know(layout: Layout, base: Path, tools: Toolchain) -> None:
    configure(base, model_type="new", architectures=["NewForCausalLM"])
    assert "converter of llama.cpp does not know its architecture" in problem(layout, subject(base), tools)
    # a training alone needs no converter
    assert notes(layout, subject(base, converted=False), tools) == []


@pytest.mark.parametrize("offered", [False, True])
def test_attention_that_transformers_cannot_load(layout: Layout, base: Path, tools: Toolchain, offered: bool) -> None:
    packages = Path(tools.llamafactory_venv, "lib/python3.11/site-packages")
    chooser, kernels = packages / "llamafactory/model/model_utils", packages / "transformers/integrations"
    chooser.mkdir(parents=True)
    kernels.mkdir()
    (chooser / "attention.py").write_text(
        'def choose(config):\n    if getattr(config, "model_type", None) == "new":\n'
        "        from transformers.integrations.hub_kernels import load_kernel\n\n        load_kernel('flash')\n"
    )
    (kernels / "hub_kernels.py").write_text(f"def {'load_kernel' if offered else 'load_kernels'}(name): ...\n")
    configure(base, model_type="new")
    if offered:
        assert notes(layout, subject(base), tools) == []
    else:
        assert "only with an attention that the installed transformers cannot load" in problem(
            layout, subject(base), tools
        )


def test_base_without_a_tokenizer(layout: Layout, base: Path, tools: Toolchain) -> None:
    (base / "vocab.json").unlink()
    assert "It has no tokenizer (none of tokenizer.json, " in problem(layout, subject(base), tools)


def test_tokens_of_the_template_that_the_vocabulary_lacks(layout: Layout, base: Path, tools: Toolchain) -> None:
    assert "'<|eot_id|>' of the template llama3 are not in its vocabulary" in problem(
        layout, subject(base, "llama3"), tools
    )
    added = {"added_tokens_decoder": {"3": {"content": "<|eot_id|>"}}, "chat_template": CHATML}
    (base / "tokenizer_config.json").write_text(json.dumps(added))
    found = notes(Layout(layout.root + "2"), subject(base, "llama3"), tools)
    assert any("'<|eom_id|>' of the template llama3" in note and "has to learn them" in note for note in found)


def test_template_with_pictures_for_a_base_without_a_processor(layout: Layout, base: Path, tools: Toolchain) -> None:
    assert "needs an image processor for the template mistral_small" in problem(
        layout, subject(base, "mistral_small"), tools
    )


# -- the base's own chat template --------------------------------------------------------------------------------


def test_difference_is_shown_shortly(layout: Layout, base: Path, tools: Toolchain) -> None:
    # qwen writes its own system prompt where there is none
    (note,) = notes(layout, subject(base, "qwen"), tools)
    assert "The base's own chat template writes '<|im_start|>user" in note and "where qwen writes" in note
    assert len(note) < 300


def test_tools_that_the_base_knows_otherwise(layout: Layout, base: Path, tools: Toolchain) -> None:
    (base / "chat_template.jinja").write_text(WITH_TOOLS)
    (note,) = notes(layout, subject(base), tools)
    assert "has to learn the use of tools again" in note


def test_base_without_chat(layout: Layout, base: Path, tools: Toolchain) -> None:
    (base / "tokenizer_config.json").unlink()
    (note,) = notes(layout, subject(base), tools)
    assert "The base has no chat template" in note


def test_template_that_cannot_be_rendered_is_not_compared(layout: Layout, base: Path, tools: Toolchain) -> None:
    (base / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    assert notes(layout, subject(base), tools) == []


# -- when a check runs -------------------------------------------------------------------------------------------


def calls(tmp_path: Path) -> int:
    path = tmp_path / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_check_runs_once(layout: Layout, base: Path, tools: Toolchain, tmp_path: Path) -> None:
    first = notes(layout, subject(base, "qwen"), tools)
    assert notes(layout, subject(base, "qwen"), tools) == first
    assert calls(tmp_path) == 1
    # another template, other tools
    notes(layout, subject(base), tools)
    assert calls(tmp_path) == 2
    (tmp_path / "llama.cpp/conversion/__init__.py").write_text(
        'TEXT_MODEL_MAP = {"LlamaForCausalLM": "llama"}  # new\n'
    )
    notes(layout, subject(base), tools)
    assert calls(tmp_path) == 3
    # check mode uses what is known
    assert base_checks.check(layout, subject(base), tools, False).unchecked is None
    assert calls(tmp_path) == 3
    assert {name for name in os.listdir(layout.path("cache", "base_checks")) if not name.endswith(".json")} == {".lock"}


def test_files_of_a_killed_check_are_removed(layout: Layout, base: Path, tools: Toolchain) -> None:
    left = Path(layout.path("cache", "base_checks", ".files"))
    left.mkdir(parents=True)
    (left / "config.json").write_text("torn")
    assert notes(layout, subject(base), tools) == []
    assert not left.exists()


def test_refusal_is_kept(layout: Layout, base: Path, tools: Toolchain, tmp_path: Path) -> None:
    first = problem(layout, subject(base, "llama3"), tools)
    assert problem(layout, subject(base, "llama3"), tools) == first
    assert calls(tmp_path) == 1


def test_check_mode_computes_and_writes_nothing(layout: Layout, base: Path, tools: Toolchain, tmp_path: Path) -> None:
    configure(base, quantization_config={"quant_method": "gptq"})
    result = base_checks.check(layout, subject(base), tools, False)
    assert result.problem is None
    assert str(result.unchecked) == "its files are checked when it is applied"
    assert not os.path.exists(layout.root) and calls(tmp_path) == 0


def test_without_tools_nothing_is_checked(layout: Layout, base: Path) -> None:
    for venv in ("", "/nowhere"):
        result = base_checks.check(layout, subject(base), Toolchain(llamafactory_venv=venv), True)
        assert "not installed" in str(result.unchecked)
    assert not os.path.exists(layout.root)


def test_only_the_small_files_of_a_hub_model_are_fetched(
    layout: Layout, base: Path, tools: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubStandIn() as hub:
        files = {path.name: path.read_bytes() for path in base.iterdir()}
        repository = hub.add("org/model", {**files, "model.safetensors": b"w" * 3_000_000})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        identity = resolution.BaseIdentity({"hub": "org/model", "commit": repository.commit}, None, "org/model")
        about = base_checks.Subject(identity, "qwen", True, False)
        assert len(notes(layout, about, tools)) == 1
        assert not any("safetensors" in request.path for request in hub.seen)
        requests = len(hub.seen)
        notes(layout, about, tools)
        assert len(hub.seen) == requests
    silent = base_checks.Subject(identity, "chatml", True, False)
    result = base_checks.check(layout, silent, tools, True)
    assert str(result.unchecked) == "the hub does not answer"


def test_tables_of_another_form_are_unknown(tmp_path: Path) -> None:
    known = read_tools(str(tmp_path), str(tmp_path))
    assert (known.trained, known.converted, known.text) == (None, None, "")
