# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The front matter and the sections of a model card, from receipts alone."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.summaries import lines_of_card
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.model_card import model_card
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import make_dirs, write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_fixture import write_evaluation

BASE, DATASET, TRAIN, GGUF, REGISTER = (digit * 64 for digit in "12345")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path))
    layout.create()
    return layout


def add(layout: Layout, kind: str, fingerprint: str, **receipt: t.Any) -> dict[str, t.Any]:
    path = layout.artifact(kind, fingerprint)
    make_dirs(path)
    made = {"kind": kind, "fingerprint": fingerprint, "settings": {}, "upstream": {}, "options": {}, **receipt}
    write_json(f"{path}/receipt.json", made)
    return made


def training(layout: Layout, hub: str = "Qwen/Qwen2.5-7B", **resolved: t.Any) -> dict[str, t.Any]:
    """A training of a base from the hub, or from a directory, on a dataset."""
    settings = {"hub": hub, "commit": "c" * 40} if hub else {"directory": "d" * 64}
    add(layout, "base", BASE, settings=settings, results={"location": "/srv/base"})
    sources = [
        {"label": "prompts.json", "sha256": "a" * 64, "commit": "b" * 40, "dirty": True},
        {"label": "more.yml", "sha256": "e" * 64},
    ]
    add(layout, "dataset", DATASET, results={"name": "homelab", "rows": 50, "sources": sources})
    return add(
        layout,
        "train",
        TRAIN,
        upstream={"base": BASE, "dataset": DATASET},
        options={"name": "m", "resolved": {"method": "lora", "epochs": 3, "seed": None, **resolved}},
        results={"steps": 12, "metrics": {"train_loss": 0.5, "eval_loss": 0.75}},
    )


def head(card: str) -> dict[str, t.Any]:
    return dict(yaml.safe_load(card.split("---\n")[1]))


def test_a_training(layout: Layout) -> None:
    card = model_card(layout, training(layout, extra={"optim": "adam|w\nx"}))
    assert head(card) == {
        "base_model": "Qwen/Qwen2.5-7B",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["llama-factory", "lora"],
    }
    lines = card.splitlines()
    assert "# m" in lines
    assert (
        "What a training has made of Qwen/Qwen2.5-7B (commit cccccccccccc), made with LLaMA-Factory and llama.cpp."
        in lines
    )
    table = lines[lines.index("## Training") + 2 :]
    assert table[:6] == [
        "| setting | value |",
        "|---|---|",
        "| method | lora |",
        "| epochs | 3 |",
        "| optim | adam\\|w x |",
        "| steps | 12 |",
    ], "without values that are not set; a cell is one line"
    metrics = lines[lines.index("## Metrics") + 4 :]
    assert metrics[:2] == ["| eval_loss | 0.75 |", "| train_loss | 0.5 |"]
    assert "50 rows of the dataset `homelab`." in lines
    assert f"| prompts.json | `{'a' * 12}` | `{'b' * 40}` and changes that are not committed |" in lines
    assert f"| more.yml | `{'e' * 12}` |  |" in lines
    assert lines[-3:] == [f"| train | `{TRAIN[:12]}` |", f"| dataset | `{DATASET[:12]}` |", f"| base | `{BASE[:12]}` |"]
    assert "## Use" not in card and "## Gate" not in card


@pytest.mark.parametrize(
    ("method", "relation", "library"),
    [("lora", "adapter", "peft"), ("full", "finetune", "transformers"), ("freeze", "finetune", "transformers")],
)
def test_full_weights_are_no_adapter(layout: Layout, method: str, relation: str, library: str) -> None:
    front = head(model_card(layout, training(layout, method=method)))
    assert (front["base_model_relation"], front["library_name"]) == (relation, library)


def test_a_base_in_a_directory_is_not_named_as_one_of_the_hub(layout: Layout) -> None:
    card = model_card(layout, training(layout, hub=""))
    assert "base_model" not in head(card) and "base_model_relation" not in head(card)
    assert "What a training has made of /srv/base, made with" in card


def test_a_registered_model_that_passed_a_gate(layout: Layout) -> None:
    training(layout)
    options = {"quantization": "q4_K_M"}
    gguf = {"quantization": "q4_K_M"}
    add(layout, "gguf", GGUF, settings=gguf, upstream={"base": BASE, "train": TRAIN})
    register = add(layout, "register", REGISTER, settings={"name": "m"}, options=options, upstream={"gguf": GGUF})
    card = model_card(layout, register)
    tag = f"m:{REGISTER[:12]}-q4_K_M"
    assert f"# {tag}" in card and f"$ ollama run {tag}\n" in card
    assert "Ollama model, fine-tuned from Qwen/Qwen2.5-7B" in card
    assert head(card)["tags"] == ["llama-factory", "lora", "gguf"] and "library_name" not in head(card)
    promote = {"kind": "promote", "fingerprint": "6" * 64, "upstream": {"register": REGISTER}}
    results = {"met": 3, "asked": 4, "met_before": None}
    assert "3 of 4 answers were as expected before it was promoted. Q" in model_card(
        layout, {**promote, "results": results}
    )
    compared = model_card(layout, {**promote, "results": {**results, "met_before": 0}})
    assert "promoted; of the model it took the place of, 0. Questions and answers are in `gate.json`." in compared
    evaluated = model_card(layout, {**promote, "results": {**results, "evaluation": "7" * 64}})
    assert f"Questions and answers are in `outputs/evaluations/{'7' * 64}`." in evaluated


def test_a_promoted_model_that_was_evaluated(layout: Layout) -> None:
    register = add(layout, "register", REGISTER, settings={"name": "m"}, options={"quantization": "q4_K_M"})
    promote = {"kind": "promote", "fingerprint": "6" * 64, "upstream": {"register": REGISTER}}
    assert lines_of_card(layout, promote) == []
    write_evaluation(layout, REGISTER, "a" * 64)
    assert lines_of_card(layout, register) == [], "it is registered before it is evaluated"
    card = model_card(layout, promote, lines_of_card(layout, promote))
    section = card.partition("## Evaluation\n\n")[2].partition("\n\n")[0].splitlines()
    assert section[0].startswith("* calls 48/50, text 71.2, guard 39/40, vs served calls +6.0 ± 8.0")
    assert section[-1] == "* Two rows were left out." and len(section) == 4


def test_a_gguf_file_of_a_base_alone(layout: Layout) -> None:
    add(layout, "base", BASE, settings={"hub": "Qwen/Qwen2.5-7B", "commit": "c" * 40})
    made = add(layout, "gguf", GGUF, settings={"quantization": "q8_0"}, upstream={"base": BASE})
    card = model_card(layout, made)
    assert "# gguf q8_0\n" in card and "GGUF file of Qwen/Qwen2.5-7B, not fine-tuned." in card
    assert "## Training" not in card and "## Data" not in card


def test_inputs_whose_receipts_are_gone_are_left_out(layout: Layout) -> None:
    made = add(layout, "merge", "7" * 64, upstream={"base": BASE, "train": TRAIN})
    card = model_card(layout, made)
    assert "base_model" not in head(card)
    assert card.splitlines()[-1] == f"| merge | `{'7' * 12}` |"


@pytest.mark.parametrize("kind", ["base", "dataset", "retain", "train_node"])
def test_other_kinds_have_no_card(layout: Layout, kind: str) -> None:
    assert model_card(layout, {"kind": kind, "fingerprint": BASE, "upstream": {}}) == ""
