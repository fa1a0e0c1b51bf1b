# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools with every shape of JSON schema are loaded and encoded by LLaMA-Factory itself, under its templates.

Rows go the way of a training: published, spelled for the template and the tool format, loaded and encoded with
LLaMA-Factory's arguments, parser and ``get_dataset``. A template for each tool format stands for all; with ``IA_FULL``
there is every template, and a training of some steps for each tool format. Needs ``IA_LF_VENV``.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats import exactness, facts
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.house_format import (
    AUTO,
    HOUSE,
    TEMPLATE,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.tool_choice import (
    ToolUse,
    choose,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import training_rows, truncation
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.output_formats import (
    MessagesOutput,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering import render
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.programs import count_rendered
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp
from ansible_collections.ia_homelab.llamafactory.tests.real import test_steps_real as steps_real
from ansible_collections.ia_homelab.llamafactory.tests.real.test_chat_formats_real import DOZEN

DATASET = fingerprint("dataset", {"schemas": 1}, {})
#: More than the longest row has: some templates indent the JSON of tools.
CUTOFF = 16384
_NODE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "inner": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
    "required": ["name"],
}
#: Tools that name no schema at all.
NO_SCHEMA = ("function_without_parameters",)
#: Name of a tool: its schema, and the arguments of a call.
SHAPES: dict[str, tuple[dict[str, t.Any], dict[str, t.Any]]] = {
    "function_without_parameters": ({}, {}),
    "empty_schema": ({}, {}),
    "enum_of_integers": ({"properties": {"level": {"type": "integer", "enum": [0, 50, 100]}}}, {"level": 50}),
    "enum_of_all": (
        {"properties": {"level": {"enum": [0.5, -2, 1000000, "x", True, None, [1], {"a": 1}]}}},
        {"level": None},
    ),
    "enum_in_items": (
        {"properties": {"levels": {"type": "array", "items": {"type": "number", "enum": [0.5, 1]}}}},
        {"levels": [0.5, 1]},
    ),
    "nested_objects": (
        {
            "properties": {
                "film": {
                    "type": "object",
                    "properties": {
                        "limits": {"type": "object", "properties": {"size": {"enum": [1, 2]}}, "required": ["size"]}
                    },
                    "required": ["limits"],
                }
            },
            "required": ["film"],
        },
        {"film": {"limits": {"size": 2}}},
    ),
    "array_of_objects": (
        {
            "properties": {
                "hosts": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
                "grid": {"type": "array", "items": {"type": "array", "items": {"type": ["number", "null"]}}},
            }
        },
        {"hosts": [{"port": 22}, {}], "grid": [[1.5, None], []]},
    ),
    "tuples": (
        {
            "properties": {
                "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
                "old_pair": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}]},
                "free": {"type": "array", "items": True},
            }
        },
        {"pair": ["a", 1], "old_pair": ["b", 2], "free": [{}]},
    ),
    "any_of": (
        {
            "properties": {
                "when": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"day": {"type": "integer"}}}]},
                "where": {"oneOf": [{"const": 1}, {"type": "null"}]},
                "who": {"allOf": [{"type": "string"}, {"minLength": 1}]},
            }
        },
        {"when": {"day": 3}, "where": None, "who": "moi"},
    ),
    "references": (
        {"$defs": {"Node": _NODE}, "properties": {"node": {"$ref": "#/$defs/Node", "description": "Dossier"}}},
        {"node": {"name": "a", "inner": [{"name": "b"}]}},
    ),
    "nullable": (
        {"properties": {"a": {"type": ["string", "null"]}, "b": {"type": "null"}, "c": {"type": ["integer"]}}},
        {"a": None, "b": None, "c": 3},
    ),
    "no_properties": ({}, {}),
    "empty_properties": ({"properties": {}, "additionalProperties": False, "required": []}, {}),
    "empty_and_boolean_schemas": ({"properties": {"any": {}, "all": True, "none": False}}, {"any": [1], "all": {}}),
    "unicode": (
        {
            "properties": {
                "œuvre": {
                    "type": "string",
                    "description": "Titre « exact » ; 日本 🚀 <b>&",
                    "enum": ["Amélie", "千と千尋"],
                },
                'clé "à" {x}': {"type": "string", "description": "{{ .Tools }} {% if x %} {content} %s\n\tligne"},
            }
        },
        {"œuvre": "千と千尋", 'clé "à" {x}': "é\u00a0{{x}}"},
    ),
    "keywords": (
        {
            "properties": {
                "n": {"type": "number", "minimum": 0, "exclusiveMaximum": 1e3, "multipleOf": 0.5, "default": 1.0},
                "s": {"type": "string", "pattern": "^[a-z]+$", "format": "hostname", "maxLength": 9, "title": "S"},
                "m": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
                "t": {"type": "array", "uniqueItems": True, "contains": {"const": 1}, "minItems": 1},
            },
            "dependentRequired": {"n": ["s"]},
            "title": "Tout",
        },
        {"n": 1.5, "s": "nas", "m": {"a": 1}, "t": [1]},
    ),
    "names_of_keywords": (
        {
            "properties": {
                "type": {"type": "string"},
                "properties": {"type": "object", "properties": {"required": {"type": "boolean"}}},
                "enum": {"type": "string"},
                "name": {"type": "string"},
            },
            "required": ["type", "properties"],
        },
        {"type": "a", "properties": {"required": True}, "enum": "b", "name": "c"},
    ),
}


def row_of(name: str) -> dict[str, t.Any]:
    """A conversation that calls the tool."""
    schema, arguments = SHAPES[name]
    tool: dict[str, t.Any] = {"name": name, "description": f"Outil {name}"}
    if name not in NO_SCHEMA:
        tool["parameters"] = {"type": "object", **schema} if schema else {}
    return {
        "messages": [
            {"role": "user", "content": f"Appelle {name}"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c1", "function": {"name": name, "arguments": json.dumps(arguments)}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": f"résultat de {name}"},
            {"role": "assistant", "content": f"réponse de {name}"},
        ],
        "tools": [tool],
    }


#: One row for each shape, and one whose tools are all of them.
ROWS = [row_of(name) for name in SHAPES]
ROWS.append({**ROWS[0], "tools": [tool for row in ROWS for tool in row["tools"]]})


def write_dataset(directory: Path) -> Path:
    """Publish the rows."""
    directory.mkdir(parents=True, exist_ok=True)
    render("rows", [Source("rows", records=ROWS)], path=str(directory / "data.jsonl"))
    write_json(str(directory / "dataset_info.json"), {"dataset": MessagesOutput.entry("data.jsonl")})
    return directory


#: Templates that are encoded for every change: one for each tool format, and phi4_mini, which has tools of its own.
OFTEN = (*DOZEN, "bailing", "glm4")
USE = ToolUse(rows=len(ROWS), calls=len(ROWS))
COMBINATIONS = [(name, tool_format) for name in facts.names() for tool_format in (TEMPLATE, HOUSE)]


def is_encoded(name: str, tool_format: str) -> bool:
    """Whether a template is encoded in this run; ``choose`` refuses what no training does."""
    if tool_format == HOUSE and name == "gpt_oss":
        return False
    return bool(os.environ.get("IA_FULL")) or (name in OFTEN and tool_format == choose(AUTO, name, USE).format)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, t.Any]]:
    """What LLaMA-Factory encodes, by template and tool format."""
    folder = tmp_path_factory.mktemp("schemas")
    published = write_dataset(folder / "published")
    base = str(steps_real.make_tiny_base(folder / "base"))
    wanted = [each for each in COMBINATIONS if is_encoded(*each)]
    requests = []
    for name, tool_format in wanted:
        assert choose(tool_format, name, USE).format == tool_format
        spelled = folder / f"{name}-{tool_format}"
        assert training_rows.write(str(published), str(spelled), name, "<|im_end|>", tool_format=tool_format)
        values = hp.resolved(hp.normalise({**steps_real.DECLARED, "template": name, "cutoff_len": CUTOFF}))
        arguments = hp.llamafactory_train_arguments(
            values, base, "dataset", str(spelled), str(folder / "output"), "cpu"
        )
        rows = [json.loads(line) for line in (spelled / "data.jsonl").read_bytes().splitlines()]
        requests.append({"arguments": arguments, "conversations": [truncation.conversations(row)[0] for row in rows]})
    answer = folder / "answer.json"
    done = subprocess.run(
        [
            os.path.join(os.environ["IA_LF_VENV"], "bin", "python"),
            str(Path(__file__).with_name("encode_datasets.py")),
            os.path.dirname(str(count_rendered.__file__)),
            str(answer),
        ],
        input=json.dumps(requests),
        env={
            **os.environ,
            "DISABLE_VERSION_CHECK": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(wanted, json.loads(answer.read_bytes())))


@pytest.mark.parametrize(
    ("name", "tool_format"),
    [
        pytest.param(
            *each, marks=() if each[0] in OFTEN and each[1] == choose(AUTO, each[0], USE).format else pytest.mark.full
        )
        for each in COMBINATIONS
        if each != ("gpt_oss", HOUSE)
    ],
)
def test_every_schema_is_encoded(encoded: dict[tuple[str, str], dict[str, t.Any]], name: str, tool_format: str) -> None:
    """No row is lost or cut; tools, calls and results are in the text; the count of a training is LLaMA-Factory's."""
    found = encoded[name, tool_format]
    assert "error" not in found, found
    assert len(found["texts"]) == len(ROWS) and all(found["trained"])
    assert found["lengths"] == found["counted"] and max(found["lengths"]) < CUTOFF
    for (shape, (schema, arguments)), text in zip(SHAPES.items(), found["texts"]):
        assert text.count(f"Outil {shape}") == 1, shape
        assert f"résultat de {shape}" in text and f"réponse de {shape}" in text
        for key in schema.get("properties", {}):
            assert key in text or json.dumps(key, ensure_ascii=False)[1:-1] in text, (shape, key)
        for value in arguments.values():
            assert not isinstance(value, str) or value in text, (shape, value)
    assert all(f"Outil {shape}" in found["texts"][-1] for shape in SHAPES)


def test_every_template_that_is_served_is_encoded() -> None:
    assert {name for name, _format in COMBINATIONS} >= set(exactness.servable())
    classes = {(each.tools, each.calls) for each in map(facts.facts_of, exactness.servable())}
    assert {(facts.facts_of(name).tools, facts.facts_of(name).calls) for name in OFTEN} >= classes


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[steps_real.Workspace]:
    for made in steps_real.prepared(tmp_path_factory.mktemp("training")):
        write_dataset(Path(made.layout.artifact("dataset", DATASET)))
        yield made


#: One for each tool format, but that of Qwen 3.5: LLaMA-Factory trains it only with a base that reads pictures.
TRAINED = (
    *("bailing_v2", "chatglm3", "glm4_7", "lfm2", "llama3", "minimax1", "minimax2", "mistral", "phi4_mini", "qwen"),
    *("seed_oss", "zephyr"),
)


@pytest.mark.full
@pytest.mark.parametrize(("name", "tool_format"), [*((name, TEMPLATE) for name in TRAINED), ("zephyr", HOUSE)])
def test_every_schema_is_trained(workspace: steps_real.Workspace, name: str, tool_format: str) -> None:
    """A training of some steps, for which LLaMA-Factory encodes all rows first."""
    declared: dict[str, t.Any] = {
        "template": name,
        "epochs": 0.25,
        "batch_size": 1,
        "warmup_ratio": 0,
        "cutoff_len": CUTOFF,
    }
    if facts.facts_of(name).stop_words:
        declared["extra"] = {"resize_vocab": True}  # the vocabulary of the tiny base has no such tokens
    wanted = hp.normalise({**steps_real.DECLARED, **declared})
    settings = {**hp.settings(wanted), "tool_format": tool_format}
    resolved = {**hp.resolved(wanted), "tool_format": tool_format}
    upstream = {"base": steps_real.BASE, "dataset": DATASET}
    ctx = workspace.context("train", settings, upstream, resolved=resolved, accelerator="cpu", name="essai")
    results = workspace.run(TrainStep(), ctx)
    assert results["steps"] == math.ceil(len(ROWS) / 4)
    if tool_format == TEMPLATE:  # rows in the house format have fewer bytes than the limit has tokens
        assert results["too_long"]["exact"] and results["too_long"]["rows"] == 0
    assert results["metrics"]["train_loss"] > 0
