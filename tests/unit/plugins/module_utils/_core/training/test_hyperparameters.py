# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a fine-tune: types, bounds, names, and their fingerprints."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import hyperparameters as hp
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.options import OPTIONS

# -- golden values -------------------------------------------------------------------------------------------------

UPSTREAM = {"base": "0" * 64, "dataset": "1" * 64}

#: Recorded once. A change of one of these changes the fingerprint of existing trainings, so that all users retrain
#: them at the next upgrade. New options must not change them.
GOLDEN: list[tuple[dict[str, t.Any], dict[str, t.Any], str]] = [
    (
        {},
        {},
        "6626918135ef54895bd812a835791785f8114f9fd5591448421bdc197706ec40",
    ),
    (
        {
            "method": "lora",
            "lora_rank": 16,
            "lora_alpha": 32,
            "epochs": 3,
            "learning_rate": 2e-4,
            "quantization": "q4_K_M",
        },
        {},
        "6626918135ef54895bd812a835791785f8114f9fd5591448421bdc197706ec40",
    ),
    (
        {"training_method": "LoRA", "lora_rank": "8", "num_epochs": "5.0", "learning_rate": "1e-4", "seed": 7},
        {"epochs": 5.0, "learning_rate": 1e-4, "lora_rank": 8, "seed": 7},
        "056eac5d48263284d19ee7531ac3c9f829dd05b5e6b04a1d22b0d15fbe5459c4",
    ),
    (
        {"method": "qlora", "template": "Qwen", "lora_target": "v_proj, q_proj", "cutoff_len": 1024, "save_steps": 9},
        {"cutoff_len": 1024, "lora_target": ["q_proj", "v_proj"], "method": "qlora", "template": "qwen"},
        "db107aadcacdb38ed35b7b1cdeb1c959753b5d6c24ef70dc2726de3fdd8542ae",
    ),
    (
        {"method": "full", "epochs": 0.5, "precision": "BF16", "extra": {"optim": "adafactor"}},
        {"epochs": 0.5, "extra": {"optim": "adafactor"}, "method": "full", "precision": "bf16"},
        "8857fd2e33cdd73361d1384ad2bb0249f88f13af2b34476344b5d374899ccbfe",
    ),
    (
        {"method": "freeze", "freeze_trainable_layers": -3, "extra": {"neftune_noise_alpha": "5e0", "max_steps": 4}},
        {"extra": {"max_steps": 4, "neftune_noise_alpha": 5.0}, "freeze_trainable_layers": -3, "method": "freeze"},
        "aa992cbc717647c411e784155a26399716af68d7d5712f90fc616cb0e1bbc935",
    ),
]


@pytest.mark.parametrize(("declared", "settings", "golden"), GOLDEN)
def test_golden_fingerprints(declared: dict[str, t.Any], settings: dict[str, t.Any], golden: str) -> None:
    actual = hp.settings(hp.normalise(declared))
    assert actual == settings
    assert fingerprint("train", actual, UPSTREAM) == golden


def test_golden_defaults() -> None:
    """Defaults are implicit in a fingerprint: with other defaults, the same fingerprint would mean another training."""
    values = hp.resolved(hp.normalise({"method": "qlora"}))
    values.update(hp.resolved(hp.normalise({"stage": "dpo"})))
    values.update(hp.resolved(hp.normalise({"stage": "kto"})))
    values.update(hp.resolved(hp.normalise({"method": "freeze"})))
    operational = {option.name for option in OPTIONS if not option.changes_result}
    assert {name: value for name, value in values.items() if name not in operational} == {
        "stage": "sft",
        "method": "freeze",
        "epochs": 3.0,
        "learning_rate": 2e-4,
        "batch_size": 1,
        "gradient_accumulation": 8,
        "gpus": 1,
        "cutoff_len": 2048,
        "max_samples": None,
        "template": None,
        "tool_format": "auto",
        "thinking": "from_rows",
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "lora_target": ["all"],
        "quantization_bit": 4,
        "freeze_trainable_layers": 2,
        "lr_scheduler": "cosine",
        "warmup_ratio": 0.1,
        "weight_decay": 0.0,
        "validation_share": 0.0,
        "early_stopping": None,
        "best_checkpoint": False,
        "held_out": 0.0,
        "pref_loss": "sigmoid",
        "pref_beta": 0.1,
        "pref_ftx": 0.0,
        "simpo_gamma": 0.5,
        "kto_chosen_weight": 1.0,
        "kto_rejected_weight": 1.0,
        "seed": 42,
        "precision": "auto",
        "extra": {},
        "quantizations": ["q4_K_M"],
        "imatrix": None,
    }


# -- equivalent declarations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"learning_rate": "2e-4"}, {"learning_rate": 0.0002}),
        ({"learning_rate": "1E-5"}, {"learning_rate": 0.00001}),
        ({"epochs": 5}, {"epochs": "5"}),
        ({"epochs": 5}, {"epochs": 5.0}),
        ({"lora_rank": 8.0}, {"lora_rank": 8}),
        ({"lora_rank": 8}, {"lora_rank": 8, "lora_alpha": 16}),
        ({"lora_target": ["q_proj", "k_proj"]}, {"lora_target": "k_proj,q_proj,k_proj"}),
        ({"lora_target": ["all", "q_proj"]}, {}),
        ({"method": "QLoRA"}, {"training-method": "qlora"}),
        ({"seed": None, "template": None}, {}),
        ({"extra": {"optim": None}}, {}),
        ({"extra": {"adam_beta2": "9.5e-1"}}, {"extra": {"adam_beta2": 0.95}}),
        ({"extra": {"--adam-beta2": 0.95}}, {"extra": {"adam_beta2": 0.95}}),
        ({"quantization": ["q8_0", "f16"]}, {}),
        ({"save_steps": 7, "logging_steps": 3, "gradient_checkpointing": False}, {}),
        ({"method": "full", "lora_rank": 16, "lora_target": "all"}, {"method": "full"}),
        ({"lr_scheduler": "constant", "warmup_ratio": 0.1}, {"lr_scheduler": "constant"}),
        ({"lr_scheduler": "Linear"}, {"lr_scheduler_type": "linear"}),
    ],
)
def test_equivalent_declarations_have_the_same_fingerprint(one: dict[str, t.Any], other: dict[str, t.Any]) -> None:
    fingerprints = [fingerprint("train", hp.settings(hp.normalise(declared)), UPSTREAM) for declared in (one, other)]
    assert fingerprints[0] == fingerprints[1]


@pytest.mark.parametrize(
    "declared",
    [
        {"epochs": 4},
        {"learning_rate": 1e-4},
        {"batch_size": 2},
        {"gradient_accumulation": 4},
        {"cutoff_len": 1024},
        {"max_samples": 10},
        {"template": "llama3"},
        {"lora_rank": 8},
        {"lora_rank": 32, "lora_alpha": 32},
        {"lora_alpha": 16},
        {"lora_dropout": 0.1},
        {"lora_target": "q_proj"},
        {"lr_scheduler": "linear"},
        {"warmup_ratio": 0},
        {"weight_decay": 0.01},
        {"seed": 0},
        {"precision": "fp32"},
        {"method": "qlora"},
        {"method": "qlora", "quantization_bit": 8},
        {"method": "full"},
        {"method": "freeze"},
        {"method": "freeze", "freeze_trainable_layers": 1},
        {"extra": {"optim": "adafactor"}},
        {"extra": {"optim": "sgd"}},
    ],
)
def test_other_declarations_have_other_fingerprints(declared: dict[str, t.Any]) -> None:
    known_settings = {
        str(hp.settings(hp.normalise(other))): other for other in ({}, {"method": "qlora"}, {"method": "freeze"})
    }
    current = hp.settings(hp.normalise(declared))
    assert declared in known_settings.values() or str(current) not in known_settings


def test_every_option_that_changes_the_result_enters_the_settings() -> None:
    """Every option of the table enters the fingerprint, unless it is operational."""
    examples = {"int": 17, "float": 0.25, "str": "phi", "list": ["q_proj"], "dict": {"optim": "sgd"}}
    for option in OPTIONS:
        if option.step != "train" or option.name in ("stage", "method"):
            continue
        value = next(
            (choice for choice in option.choices if choice != option.default),
            examples.get(option.type, not option.default),
        )
        if option.name == "gpus":
            value = 2  # the default of gradient_accumulation is a multiple of it
        method = option.methods[0] if option.methods else "lora"
        stage = option.stages[0] if option.stages else "sft"
        needed = {option.needs[0]: option.needs[1][0]} if option.needs else dict.fromkeys(option.requires.split(), 0.1)
        entered = hp.settings(hp.normalise({option.name: value, "method": method, "stage": stage, **needed}))
        assert (option.name in entered) == option.changes_result, option.name


# -- rejected values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"lora_rnak": 8}, "Did you mean lora_rank?"),
        ({"Learning-Rat": 1}, "Did you mean learning_rate?"),
        ({"num_epoch": 1}, "Did you mean epochs?"),
        ({"completely_else": 1}, "The README of the role finetune lists the options."),
        ({"epochs": 3, "num_epochs": 3}, "twice"),
        ({"lora_rank": 0}, "lora_rank must be at least 1"),
        ({"lora_rank": "8.5"}, "lora_rank must be a whole number"),
        ({"lora_rank": True}, "lora_rank must be a whole number"),
        ({"lora_rank": "many"}, "lora_rank must be a whole number"),
        ({"epochs": 0}, "epochs must be above 0"),
        ({"epochs": float("nan")}, "epochs must be a number"),
        ({"epochs": "inf"}, "epochs must be a number"),
        ({"epochs": [3]}, "epochs must be a number"),
        ({"learning_rate": 2}, "learning_rate must be above 0 and at most 1"),
        ({"lora_dropout": 1}, "lora_dropout must be at least 0 and at most 0.99"),
        ({"seed": -1}, "at least 0 and at most 4294967295"),
        ({"gradient_checkpointing": "maybe"}, "true or false"),
        ({"template": 3}, "template must be a word"),
        ({"template": " "}, "template must be a word"),
        ({"lora_target": []}, "list of words"),
        ({"lora_target": [1]}, "list of words"),
        ({"precision": "bf61"}, "Did you mean bf16?"),
        ({"quantization_bit": 3}, "4, 8"),
        ({"lr_scheduler": "cosin"}, "Did you mean cosine?"),
        ({"method": "lorra"}, "Did you mean lora?"),
        ({"method": "oft"}, "lora, qlora, full, freeze, auto"),
        ({"stage": "orpo"}, "Declare stage: dpo and pref_loss: orpo."),
        ({"pref_loss": "orpo"}, "Declare stage: dpo"),
        ({"pref_beta": 0.2, "stage": "rm"}, "stage: dpo or kto"),
        ({"kto_chosen_weight": 2, "stage": "dpo"}, "has no effect with the stage dpo"),
        # LLaMA-Factory's lora with quantization_bit is QLoRA, also with the default
        ({"method": "lora", "quantization_bit": 8}, "has no effect with the method lora. Declare method: qlora, or"),
        ({"quantization_bit": 4}, "has no effect with the method lora"),
        ({"method": "full", "quantization_bit": 4}, "has no effect with the method full"),
        ({"method": "full", "lora_rank": 64}, "Declare method: lora or qlora, or leave lora_rank out."),
        ({"method": "freeze", "lora_alpha": 8}, "has no effect with the method freeze"),
        ({"freeze_trainable_layers": 3}, "has no effect with the method lora"),
        ({"method": "auto", "freeze_trainable_layers": 3}, "has no effect with the method auto"),
        ({"validation_share": 0.6}, "at most 0.5"),
        ({"extra": {"val_size": 0.1}}, "Declare validation_share instead, outside of extra."),
        ({"stage": "ppo"}, "must be one of"),
        ({"extra": ["a"]}, "mapping"),
        ({"extra": {"lora_rank": 4}}, "Declare lora_rank instead, outside of extra."),
        ({"extra": {"num_train_epochs": 4}}, "Declare epochs instead, outside of extra."),
        ({"extra": {"finetuning_type": "oft"}}, "Declare method instead, outside of extra."),
        ({"extra": {"output_dir": "/tmp/x"}}, "Leave it out."),
        ({"extra": {"bf16": True}}, "Declare precision: bf16 instead, outside of extra."),
        ({"extra": {"warmup_steps": 3}}, "Declare warmup_ratio instead, outside of extra."),
        ({"extra": {"hf_hub_token": "x"}}, "Use the option token_file of the modules instead."),
        ({"quantizations": "q4_K_N"}, "Did you mean q4_K_"),
        ({"quantizations": []}, "list of GGUF types"),
        ({"quantizations": "iq7_xxs"}, "There is no GGUF type"),
        ({"quantizations": "q4_K_M,iq2_xxs"}, "iq2_XXS cannot be made without an importance matrix. Declare imatrix"),
        ({"quantizations": "q8_0", "imatrix": "dataset"}, "no importance matrix is used for q8_0. Leave imatrix out"),
        ({"imatrix": "wikitext"}, "imatrix must be one of dataset, not 'wikitext'"),
    ],
)
def test_rejected_with_a_message(declared: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        hp.normalise(declared)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["prompt_tuning", "Prompt-Tuning", "p-tuning", "prefix tuning", "P_TUNING_V2"])
def test_prompt_tuning_is_rejected_with_a_reason_and_an_alternative(name: str) -> None:
    with pytest.raises(InputError) as caught:
        hp.normalise({"method": name})
    message = str(caught.value)
    assert "LLaMA-Factory has no prompt tuning" in message
    assert "GGUF" in message
    assert "method: lora" in message


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from([option.name for option in OPTIONS]),
        st.none()
        | st.booleans()
        | st.floats()
        | st.integers()
        | st.text()
        | st.lists(st.text())
        | st.dictionaries(st.text(), st.text()),
    )
)
def test_any_value_is_rejected_or_has_a_fingerprint(declared: dict[str, t.Any]) -> None:
    """Any value is either converted to its type or rejected with an InputError."""
    try:
        result = hp.normalise(declared)
    except InputError:
        return
    given = {name: value for name, value in result.values.items() if value != hp.normalise({})[name]}
    assert hp.normalise(given) == result
    if result.method != "auto":
        assert len(fingerprint("train", hp.settings(result), UPSTREAM)) == 64


@pytest.mark.parametrize(
    "declared",
    [
        {"method": "qlora", "quantization_bit": 4},
        {"method": "auto", "quantization_bit": 8},
        {"method": "auto", "lora_rank": 8},
        {"stage": "dpo", "pref_loss": "simpo", "simpo_gamma": 1},
        {"lr_scheduler": "constant", "warmup_ratio": 0},
        {"lr_scheduler": "constant_with_warmup", "warmup_ratio": 0.2},
    ],
)
def test_options_with_an_effect_are_accepted(declared: dict[str, t.Any]) -> None:
    assert {name: hp.normalise(declared)[name] for name in declared} == declared


def test_an_option_is_not_refused_for_a_value_that_is_wrong_itself() -> None:
    """What would have an effect with the right value is no second problem."""
    for declared in ({"method": "qlor", "quantization_bit": 8}, {"lr_scheduler": "cosin", "warmup_ratio": 0.2}):
        with pytest.raises(InputError) as caught:
            hp.normalise(declared)
        assert [problem["option"] for problem in caught.value.details["problems"]] == [next(iter(declared))]


# -- auto ----------------------------------------------------------------------------------------------------------


def test_auto_has_no_fingerprint() -> None:
    declared = hp.normalise({"method": "AUTO"})
    with pytest.raises(InputError, match="auto"):
        hp.settings(declared)
    assert hp.settings(declared.with_method("lora")) == {}


# -- LLaMA-Factory's arguments -------------------------------------------------------------------------------------


def arguments(declared: dict[str, t.Any], accelerator: str = "cuda") -> dict[str, t.Any]:
    values = hp.resolved(hp.normalise({"template": "qwen", **declared}))
    return hp.llamafactory_train_arguments(
        values, base="/b", dataset="d", dataset_dir="/d", output_dir="/o", accelerator=accelerator
    )


def test_arguments_of_lora() -> None:
    assert arguments({}) == {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": "/b",
        "finetuning_type": "lora",
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "lora_target": "all",
        "template": "qwen",
        "dataset": "d",
        "dataset_dir": "/d",
        "cutoff_len": 2048,
        "output_dir": "/o",
        "overwrite_output_dir": False,
        "num_train_epochs": 3.0,
        "learning_rate": 2e-4,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "weight_decay": 0.0,
        "seed": 42,
        "bf16": True,
        "logging_steps": 1,
        "save_steps": 50,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "plot_loss": True,
        "report_to": "none",
        "include_num_input_tokens_seen": True,
    }


def test_gpus_divide_the_batches_of_a_step() -> None:
    """An optimizer step has as many rows as with one GPU; with one the fingerprint is that of earlier versions."""
    assert arguments({"gpus": 4})["gradient_accumulation_steps"] == 2
    assert arguments({"gpus": 4, "gradient_accumulation": 4})["gradient_accumulation_steps"] == 1
    assert "gpus" not in arguments({"gpus": 4})
    assert hp.settings(hp.normalise({"gpus": 1})) == {}
    assert hp.settings(hp.normalise({"gpus": 2})) == {"gpus": 2}
    stored = {**hp.resolved(hp.normalise({"template": "qwen"}))}
    del stored["gpus"]  # of a run of an earlier version
    assert hp.llamafactory_train_arguments(stored, "/b", "d", "/d", "/o", "cuda")["gradient_accumulation_steps"] == 8


@pytest.mark.parametrize(
    ("gpus", "accumulation", "nearest"), [(3, None, 9), (5, None, 10), (2, 1, 2), (16, None, 16), (4, 6, 8)]
)
def test_gpus_that_the_batches_cannot_be_divided_among(gpus: int, accumulation: int | None, nearest: int) -> None:
    with pytest.raises(InputError, match="cannot be divided among gpus") as caught:
        hp.normalise({"gpus": gpus, "gradient_accumulation": accumulation})
    assert f"such as {nearest}." in caught.value.hint
    assert hp.normalise({"gpus": gpus, "gradient_accumulation": nearest})["gpus"] == gpus
    with pytest.raises(InputError, match="gpus must be at least 1"):
        hp.normalise({"gpus": 0})


def test_arguments_of_other_methods() -> None:
    quantized = arguments({"method": "qlora", "lora_target": "v_proj,q_proj", "lora_alpha": 8})
    assert (quantized["finetuning_type"], quantized["quantization_bit"]) == ("lora", 4)
    assert (quantized["lora_target"], quantized["lora_alpha"]) == ("q_proj,v_proj", 8)
    full = arguments({"method": "full", "gradient_checkpointing": False, "max_samples": 5})
    assert full["finetuning_type"] == "full"
    assert (full["disable_gradient_checkpointing"], full["max_samples"]) == (True, 5)
    assert not [name for name in full if name.startswith(("lora_", "quantization", "freeze_"))]
    frozen = arguments({"method": "freeze"})
    assert (frozen["finetuning_type"], frozen["freeze_trainable_layers"]) == ("freeze", 2)
    assert arguments({"extra": {"optim": "adafactor"}})["optim"] == "adafactor"


@pytest.mark.parametrize(
    ("precision", "accelerator", "expected"),
    [
        ("auto", "cuda", {"bf16": True}),
        ("auto", "cpu", {"use_cpu": True}),
        ("fp16", "cuda", {"fp16": True}),
        ("fp32", "cuda", {}),
        ("bf16", "cpu", {"bf16": True, "use_cpu": True}),
    ],
)
def test_precision(precision: str, accelerator: str, expected: dict[str, bool]) -> None:
    actual = arguments({"precision": precision}, accelerator)
    assert {name: actual[name] for name in ("bf16", "fp16", "use_cpu") if name in actual} == expected


@pytest.mark.parametrize(
    ("declared", "message"),
    [({"method": "qlora"}, "GPU"), ({"precision": "fp16"}, "GPU"), ({"method": "auto"}, "auto")],
)
def test_unsupported_on_a_cpu(declared: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        arguments(declared, "cpu")


def test_template_is_required() -> None:
    with pytest.raises(InputError, match="template"):
        arguments({"template": None})


# -- schemas -------------------------------------------------------------------------------------------------------


def test_argument_spec_and_schema_agree_with_the_table() -> None:
    spec, schema = hp.argument_spec(), hp.schema()["properties"]
    assert list(spec) == list(schema) == hp.option_names()
    assert "quantizations" not in hp.argument_spec("train")
    assert hp.option_names("gguf") == ["quantizations", "imatrix"]
    defaults = {name: entry["default"] for name, entry in spec.items() if "default" in entry}
    assert hp.normalise(defaults) == hp.normalise({})
    assert {name: entry["default"] for name, entry in schema.items() if "default" in entry} == defaults
    # the core rejects wrong values of these with a reason, so Ansible must accept them
    assert "choices" not in spec["method"]
    assert spec["precision"]["choices"] == ["auto", "bf16", "fp16", "fp32"]
    assert schema["learning_rate"]["exclusiveMinimum"] == 0
    assert schema["lora_rank"]["minimum"] == 1
    assert all(entry["description"] for entry in schema.values())
    spec["extra"]["default"]["x"] = 1
    assert hp.argument_spec()["extra"]["default"] == {}


def test_deepspeed_detects_the_cpu_itself() -> None:
    # with use_cpu the Trainer does not start ZeRO 3
    assert "use_cpu" not in arguments({"extra": {"deepspeed": {"zero_optimization": {"stage": 3}}}}, "cpu")
