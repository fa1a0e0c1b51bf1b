# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations of fine-tunes: a list or a dictionary of them, types of their options, and messages about wrong ones."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.declaration import (
    check_declaration,
    read_declaration,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.entries import entries
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import declared_problems

BASE: dict[str, t.Any] = {"name": "m", "base_model": "qwen2.5:7b", "dataset": "d"}


def message(**declared: t.Any) -> str:
    """The message about a wrong declaration."""
    with pytest.raises(InputError) as caught:
        read_declaration({**BASE, **declared})
    return str(caught.value)


# -- lists and dictionaries ----------------------------------------------------------------------------------------


def test_a_dictionary_is_the_same_as_a_list() -> None:
    listed = [{"name": "z", "base_model": "b", "dataset": "d", "epochs": 1}, {"name": "a", "base_model": "c"}]
    named = {"z": {"base_model": "b", "dataset": "d", "epochs": 1}, "a": {"name": "a", "base_model": "c"}}
    assert entries(named) == entries(listed) == listed
    assert [list(entry) for entry in entries(named)] == [list(entry) for entry in listed]
    assert entries(entries(named)) == listed
    assert entries(None) == entries([]) == entries({}) == []


def test_names_of_what_callers_look_at_are_canonical() -> None:
    declared = {"Base-Model": "b", "dataset_path": "/app/data/x.json", "LR": 1e-4, "num_epochs": 2}
    assert entries({"m": declared}) == [
        {"name": "m", "base_model": "b", "dataset": "/app/data/x.json", "LR": 1e-4, "num_epochs": 2}
    ]
    assert "Base-Model" in declared


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"m": {"name": "n"}}, "the fine-tune 'm' has another name inside: 'n'"),
        ({"m": "qwen2.5:7b"}, "m must be a mapping of options, not 'qwen2.5:7b'"),
        ([BASE, "x"], "Entry 2 of finetunes must be a mapping"),
        (BASE, "Begin the entry with a hyphen"),
        ("m", "must be a list of fine-tunes, or a dictionary of them by name, not 'm'"),
        (3, "must be a list of fine-tunes"),
    ],
)
def test_other_shapes_are_refused(declared: t.Any, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        entries(declared)
    assert expected in str(caught.value)
    assert declared_problems(declared) == [str(caught.value)]


def test_the_two_spellings_of_an_option_stay_two() -> None:
    for declared in ({"base_model": "b", "model": "c"}, {"model": "c", "base_model": "b"}, {"MODEL": 1, "model": 2}):
        (found,) = declared_problems({"m": {"dataset": "d", **declared}})
        assert "base_model was declared twice" in found


def test_each_wrong_entry_has_one_message() -> None:
    found = declared_problems([BASE, {**BASE, "name": "one", "epochs": 0}, {"name": "two"}])
    assert len(found) == 2
    assert found[0].startswith("one: epochs must be above 0")
    assert found[1].splitlines() == ["two: 2 options are wrong.", "- base_model is missing.", "- dataset is missing."]


# -- types -----------------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    declared = read_declaration(BASE)
    assert (declared.base_revision, declared.system, declared.parameters) == ("main", None, {})
    assert (declared.aliases, declared.register, declared.memory_check) == (("latest",), True, "enforce")
    assert (declared.gate, declared.export, declared.nodes) == (None, "merged", ())
    assert declared.retraining_inputs == ("dataset", "hyperparameters", "base")
    assert not declared.always_retrain


@pytest.mark.parametrize(
    ("declared", "field", "expected"),
    [
        ({"register": "no"}, "register", False),
        ({"register": "Yes"}, "register", True),
        ({"aliases": "latest"}, "aliases", ("latest",)),
        ({"aliases": "latest, stable"}, "aliases", ("latest", "stable")),
        ({"aliases": [1.5, "x"]}, "aliases", ("1.5", "x")),
        ({"aliases": []}, "aliases", ()),
        ({"nodes": "pc-a"}, "nodes", ("pc-a",)),
        ({"nodes": "PC-A,pc-b"}, "nodes", ("PC-A", "pc-b")),
        ({"regenerate_on": "Base, dataset"}, "retraining_inputs", ("base", "dataset")),
        ({"regenerate": "never"}, "retraining_inputs", ()),
        ({"regenerate": "always"}, "always_retrain", True),
        ({"memory_check": "WARN"}, "memory_check", "warn"),
        ({"base_revision": 1234567}, "base_revision", "1234567"),
        ({"base_model": " Qwen/Qwen2.5-7B "}, "base_model", "Qwen/Qwen2.5-7B"),
        ({"dataset": "/app/data/homelab.json"}, "dataset", "homelab"),
        ({"system": " Reply in French.\n"}, "system", " Reply in French.\n"),
        ({"system": ""}, "system", ""),
        ({"system": None}, "system", None),
        ({"parameters": {"temperature": "0.5"}}, "parameters", {"temperature": "0.5"}),
    ],
)
def test_values_have_their_type(declared: dict[str, t.Any], field: str, expected: t.Any) -> None:
    assert getattr(read_declaration({**BASE, **declared}), field) == expected


def test_the_number_of_versions_may_be_text() -> None:
    assert read_declaration({**BASE, "keep": "3"}).keep == read_declaration({**BASE, "keep": 3}).keep


def test_a_gate_may_be_only_its_prompts() -> None:
    prompts = [{"prompt": "a", "contains": "b"}]
    assert (
        read_declaration({**BASE, "gate": prompts}).gate
        == read_declaration({**BASE, "gate": {"prompts": prompts}}).gate
    )


def test_options_are_checked_together() -> None:
    """Not each with the defaults of all others."""
    values = check_declaration({**BASE, "lora_rank": 8, "lora_alpha": 32, "stage": "dpo", "pref_loss": "orpo"})
    assert not values.problems
    assert (values.values["lora_alpha"], values.values["pref_loss"]) == (32, "orpo")
    assert read_declaration({**BASE, "lora_rank": 8, "lora_alpha": 32}).hyper["lora_alpha"] == 32


# -- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"lora_rnk": 8}, "There is no option 'lora_rnk' of a fine-tune. Did you mean lora_rank?"),
        ({"alias": 8}, "Did you mean aliases?"),
        ({"trainng_method": "lora"}, "Did you mean method?"),
        ({"base_modell": "x"}, "Did you mean base_model?"),
        (
            {"finetuning_type": "lora"},
            "m: finetuning_type is an argument of LLaMA-Factory, not an option of a fine-tune. Declare method instead.",
        ),
        ({"model_name_or_path": "x"}, "Declare base_model instead."),
        ({"--val-size": 0.1}, "Declare validation_share instead."),
        ({"bf16": True}, "Declare precision: bf16 instead."),
        ({"bf16": False}, "Declare precision instead."),
        ({"warmup_steps": 10}, "Declare warmup_ratio instead."),
        ({"disable_gradient_checkpointing": "yes"}, "Declare gradient_checkpointing: false instead."),
        ({"hub_token": "x"}, "Use the option token_file of the modules instead."),
        (
            {"output_dir": "/x"},
            "output_dir is an argument of LLaMA-Factory that this program sets itself. Leave it out.",
        ),
        ({"optim": "sgd"}, 'Declare extra: {optim: "sgd"} instead.'),
        ({"max_steps": 100}, "Declare extra: {max_steps: 100} instead."),
        ({"max_stepps": 100}, "There is no option 'max_stepps' of a fine-tune. Did you mean extra: {max_steps: 100}?"),
        ({"lr_scheduler_kwargs": {"a": "b" * 99}}, "Declare extra: {lr_scheduler_kwargs: …} instead."),
        ({3: 4}, "There is no option '3'"),
        ({"lr": "fast"}, "m: lr: learning_rate must be a number, not 'fast'."),
        ({"lr": 1e-4, "learning_rate": 1e-4}, "learning_rate was declared twice: as lr and as learning_rate."),
        ({"epochs": 0}, "m: epochs must be above 0 and at most 1000, not 0."),
        ({"keep": 0}, "m: keep must be at least 1, not 0."),
        ({"keep": "some"}, "m: keep must be a whole number, not 'some'."),
        ({"register": "perhaps"}, "m: register must be true or false, not 'perhaps'."),
        ({"register": 2}, "register must be true or false, not 2."),
        ({"parameters": "x"}, "m: parameters must be a mapping, not 'x'."),
        ({"parameters": {"temperatur": 1}}, "Did you mean temperature?"),
        ({"aliases": {"latest": 1}}, "aliases must be a list of words"),
        ({"aliases": ["a/b"]}, "a/b"),
        ({"memory_check": "wran"}, "memory_check must be one of enforce, warn, not 'wran'. Did you mean warn?"),
        ({"export": "adaptor"}, "Did you mean adapter?"),
        (
            {"regenerate_on": ["data"]},
            "must be one of dataset, hyperparameters, base, not 'data'. Did you mean dataset?",
        ),
        ({"dataset": True}, "dataset must be text, not True."),
        ({"base_model": ["x"]}, "base_model must be text, not ['x']."),
        ({"base_model": " "}, "base_model must name a model"),
        ({"base_model": None}, "base_model is missing."),
        ({"name": "a b"}, "'a b' is not a name for a model."),
        ({"gate": "x"}, "A gate is a list of prompts"),
        ({"gate": {"prompts": [{"prompt": "x", "equals": "x"}]}, "aliases": []}, "no aliases"),
        ({"stage": "rm", "register": True}, "A reward model"),
        ({"pref_loss": "orpo"}, "m: pref_loss has no effect with the stage sft. Declare stage: dpo"),
    ],
)
def test_wrong_declarations_are_named(declared: dict[t.Any, t.Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        read_declaration({**BASE, **declared})
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_are_named_at_once() -> None:
    text = message(lora_rnk=8, epochs=0, lr="fast", stage="dop", pref_loss="orpo", register="no")
    assert text.splitlines() == [
        "m: 4 options are wrong.",
        "- There is no option 'lora_rnk' of a fine-tune. Did you mean lora_rank?",
        "- epochs must be above 0 and at most 1000, not 0.",
        "- lr: learning_rate must be a number, not 'fast'.",
        "- stage must be one of sft, pt, rm, dpo, kto, not 'dop'.",
    ]


def test_long_values_are_shortened() -> None:
    assert len(message(epochs=["x" * 50] * 100)) < 200


def test_problems_are_facts_for_programs() -> None:
    with pytest.raises(InputError) as caught:
        read_declaration({**BASE, "lr": 2})
    (problem,) = caught.value.details["problems"]
    assert problem["option"] == "lr" and problem["hint"] == ""
    assert problem["message"] == "lr: learning_rate must be above 0 and at most 1, not 2."
    assert problem["code"] == "training.written_as" and problem["parameters"]["key"] == "lr"
    assert problem["parameters"]["problem"]["code"] == "training.option_bounds"
