# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``training``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "training.adapter_with_merged": Text(
        "export: adapter writes no merged weights, and keep_merged asks for them.",
        "Leave one of them out.",
    ),
    "training.one_pass_empty": "its adapter is empty",
    "training.one_pass_method": "the method {method} changes the base's own weights",
    "training.one_pass_argument": "extra.{argument} changes more than an adapter does",
    "training.one_pass_tokens": "the training has added tokens",
    "training.one_pass_weights": "the base has no weights in safetensors files with a configuration",
    "training.one_pass_setting": "its adapter has {setting} in adapter_config.json",
    "training.one_pass_tensor": "the base has no tensor that {tensor} of the adapter belongs to",
    "training.one_pass_shape": "{tensor} has another shape in the base than in the adapter",
    "training.one_pass_tied": "the adapter changes embeddings that are input and output at once",
    "training.method_without_adapter": Text(
        "export: adapter needs an adapter, and the method {method} makes none.",
        "Declare method: lora or qlora, or export: merged.",
    ),
    "training.adapter_is_not_model": Text(
        "with extra.{argument} the adapter alone is not the model that was trained.",
        "Declare export: merged.",
    ),
    "training.method_unresolved": "method: auto has to be resolved for a host first.",
    "training.template_unknown": Text("The chat template of the base model is unknown.", "Declare template."),
    "training.qlora_without_gpu": Text(
        "qlora needs a GPU: weights in 4 bits cannot be computed with on a CPU.",
        "Use method: lora.",
    ),
    "training.fp16_without_gpu": Text("fp16 needs a GPU.", "Leave precision out, or declare fp32."),
    "training.image_missing": Text("The Docker engine has no image {image!r}.", "Get it with 'docker pull {image}'."),
    "training.arguments_unreadable": Text(
        "The arguments of the LLaMA-Factory in {place} cannot be read.",
        "Install it again with the role ia_homelab.llamafactory.llamafactory.",
    ),
    "training.no_chat_template": Text("LLaMA-Factory {version} has no chat template {name!r}.", "{suggestion}"),
    "training.no_argument": Text("LLaMA-Factory {version} has no argument {name!r} (extra).", "{suggestion}"),
    "training.argument_choice": "extra.{name} must be one of {allowed}, not {value!r}.",
    "training.argument_type": "extra.{name} must be {kinds:join| or }, not {value!r}.",
    "training.option_bounds": "{option} must be {bounds:join| and }, not {value}.",
    "training.imatrix_needed": Text(
        "{types:join|, } cannot be made without an importance matrix.",
        "Declare imatrix: dataset, or types with more bits (q2_K and larger).",
    ),
    "training.imatrix_unused": Text(
        "no importance matrix is used for {types:join|, }.",
        "Leave imatrix out, or declare a type that it changes (q6_K and smaller).",
    ),
    "training.imatrix_of_shared_base": Text(
        "with export: adapter the base is quantized once for all its fine-tunes, not by the rows of one.",
        "Leave imatrix out, or declare export: merged.",
    ),
    "training.quantizations_invalid": "quantizations must be a list of GGUF types, not {value}.",
    "training.extra_invalid": "extra must be a mapping of LLaMA-Factory's arguments, not {value}.",
    "training.too_little_text": Text(
        "The dataset {name!r} holds less text ({size} bytes) than one piece of {cutoff_len} tokens.",
        "Lower cutoff_len, or add text: what does not fill a piece is not trained on.",
    ),
    "training.reward_model_not_served": Text(
        "A reward model (stage rm) scores answers and gives none: there is nothing for Ollama to serve.",
        "Leave register out: the run ends with the trained adapter and its value head.",
    ),
    "training.any_known_place": "any known place",
    "training.llamafactory_missing": Text(
        "LLaMA-Factory is not installed at {place}.",
        "Install it with the role ia_homelab.llamafactory.llamafactory, or say where it is (llamafactory_venv).",
    ),
    "training.known_templates": "It knows: {names}.",
    "training.see_documentation": "Its documentation lists its arguments.",
    "training.reward_model_not_merged": Text(
        "A reward model (stage rm) is not merged: it scores answers and gives none.",
        "Use what the training made: the adapter and value_head.safetensors beside it.",
    ),
    "training.reward_model_not_converted": Text(
        "A reward model (stage rm) is not converted: it scores answers and gives none.",
        "Use what the training made: the adapter and value_head.safetensors beside it.",
    ),
    "training.reward_model_not_exported": Text(
        "A reward model (stage rm) is not exported: it scores answers and gives none.",
        "Use what the training made: the adapter and value_head.safetensors beside it.",
    ),
    "training.rows_sft": "questions and answers",
    "training.rows_preference": "pairs of answers, chosen and rejected",
    "training.rows_kto": "answers with a kto_tag",
    "training.rows_text": "text",
    "training.dataset_of_other_stage": Text(
        "The stage {stage} trains on {wanted}, and the dataset {name!r} holds {rows}.",
        "Declare stage: {stages:join| or }, or another dataset.",
    ),
    "training.above": "above {bound:g}",
    "training.at_least": "at least {bound:.10g}",
    "training.at_most": "at most {bound:.10g}",
    "training.option_no_integer": "{option} must be a whole number, not {value}.",
    "training.option_no_number": "{option} must be a number, not {value}.",
    "training.option_no_word": "{option} must be a word, not {value}.",
    "training.option_no_text": "{option} must be text, not {value}.",
    "training.option_no_boolean": "{option} must be true or false, not {value}.",
    "training.option_no_list": "{option} must be a list of words, not {value}.",
    "training.option_no_mapping": "{option} must be a mapping, not {value}.",
    "training.options_wrong": "{count} options are wrong.\n- {problems!s:join|\n- }",
    "training.of_finetune": Text("{name}: {problem}", "{problem.hint}"),
    "training.declared_twice": "{option} was declared twice: as {first} and as {second}.",
    "training.written_as": Text("{key}: {problem}", "{problem.hint}"),
    "training.option_unknown": Text("There is no option {option!r} of a fine-tune.", "{advice}"),
    "training.argument_is_option": Text(
        "{argument} is an argument of LLaMA-Factory, not an option of a fine-tune.", "Declare {declaration} instead."
    ),
    "training.argument_of_modules": Text(
        "{argument} is an argument of LLaMA-Factory that this program sets itself.",
        "Use the option {option} of the modules instead.",
    ),
    "training.argument_managed": Text(
        "{argument} is an argument of LLaMA-Factory that this program sets itself.", "Leave it out."
    ),
    "training.see_options": "The README of the role finetune lists the options.",
    "training.option_choice": Text("{option} must be one of {choices}, not {value}.", "{advice}"),
    "training.no_prompt_tuning": Text(
        "The method {method!r} cannot be: LLaMA-Factory has no prompt tuning, and soft prompts cannot go into "
        "a GGUF file, which holds weights only.",
        "The nearest method is lora with a low rank: method: lora, lora_rank: 4.",
    ),
    "training.is_pref_loss": "Declare stage: dpo and pref_loss: {loss}.",
    "training.no_ppo": (
        "Its rewards come while it trains, from a second model; dpo and kto learn from preferences as well."
    ),
    "training.quantization_unknown": Text("There is no GGUF type {type!r}.", "{suggestion} Known: {known}."),
    "training.extra_is_option": Text(
        "extra.{name} is set by this program itself.", "Declare {option} instead, outside of extra."
    ),
    "training.extra_of_modules": Text(
        "extra.{name} is set by this program itself.", "Use the option {option} of the modules instead."
    ),
    "training.extra_path_missing": Text(
        "extra.{name} names {path}, which does not exist on this host.", "Put it there, or correct the path."
    ),
    "training.extra_file_changed": Text(
        "What extra.{name} names has changed since the training was planned: {path}.",
        "Apply the declaration again, which plans a training with the new content.",
    ),
    "training.extra_managed": Text("extra.{name} is set by this program itself.", "Leave it out."),
    "training.option_missing": "{option} is missing.",
    "training.option_of_other_method": Text(
        "{option} has no effect with the method {method}.",
        "Declare method: {methods:join| or }, or leave {option} out.",
    ),
    "training.option_idle_with_auto": Text(
        "{option} has no effect: method: auto is {method} on this host.",
        "Declare method: {methods:join|, | or }, or leave {option} out.",
    ),
    "training.option_of_other_value": Text(
        "{option} has no effect with {other}: {value}.",
        "Declare {other}: {allowed:join|, | or }, or leave {option} out.",
    ),
    "training.option_requires": Text(
        "{option} has no effect without {other}.",
        "Declare {other}, or leave {option} out.",
    ),
    "training.held_out_twice": Text(
        "held_out is {other:g}, and the evaluation holds out {share:g}.",
        "Declare it once, in evaluation.",
    ),
    "training.option_of_other_stage": Text(
        "{option} has no effect with the stage {stage}.",
        "Declare stage: {stages:join| or }, or leave {option} out.",
    ),
    "training.learning_rate_of_sft": (
        "learning_rate {learning_rate:g} suits sft; for {stage} something like {usual:g} is usual."
    ),
    "training.batches_not_divisible": Text(
        "gradient_accumulation {gradient_accumulation} cannot be divided among gpus: {gpus}, so an optimizer "
        "step would have another number of rows.",
        "Declare a multiple of {gpus} as gradient_accumulation, such as {nearest}.",
    ),
    "training.refused": Text("LLaMA-Factory refuses these arguments: {reason}", "{advice}"),
    "training.validation_needed": "Declare validation_share: there are no rows to evaluate on. Or leave out: {names}.",
    "training.package_needed": (
        "Install that package into LLaMA-Factory's environment, or leave out of extra what needs it: {names}."
    ),
    "training.change_extra": "Change or leave out of extra: {names}.",
    "training.modules_missing": Text(
        "The base model has no modules {names:quoted} that can be trained in this way.",
        "Its linear modules are: {modules}. lora_target: all stands for all of them.",
    ),
    "training.modules_not_checked": (
        "Whether the base model has the modules {names} is not checked before it is on this host."
    ),
    "training.not_checked": ("{names}: not checked, because LLaMA-Factory is not installed here or does not answer."),
    "training.few_steps": Text(
        "The training makes about {steps} optimizer {steps:step|steps} ({rows} {rows:row|rows}, {rows_per_step} for "
        "each step, {epochs:g} {epochs:epoch|epochs}), which may be too few to learn from.",
        "{advice}",
    ),
    "training.raise_max_steps": "Raise extra.max_steps.",
    "training.raise_epochs": "epochs: {epochs} makes {steps} steps or more; more rows are better.",
    "training.raise_epochs_or_smaller_steps": (
        "epochs: {epochs} makes {steps} steps or more, and so does a lower gradient_accumulation or batch_size with "
        "fewer epochs; more rows are better."
    ),
    "training.warmup_left_out": (
        "There is no warm-up: warmup_ratio {warmup_ratio:g} would take too many of {steps} {steps:step|steps}, and the "
        "first step of a warm-up has the learning rate 0."
    ),
    "training.loss_did_not_fall": Text(
        "The loss did not fall: it was {first:.4g} in the first third of {steps} steps, and {last:.4g} in the last "
        "third.",
        "{advice}",
    ),
    "training.lower_learning_rate": "Lower learning_rate, to {learning_rate:g} for example.",
    "training.raise_learning_rate": "Raise learning_rate, to {learning_rate:g} for example.",
    "training.train_longer": "Raise epochs or lower gradient_accumulation, so that there are more steps.",
    "training.loss_is_zero": Text(
        "The loss was 0 in every step: nothing was learnt.",
        "Raise cutoff_len if the answers are cut off, and declare precision: bf16 or fp32 if it is fp16.",
    ),
    "training.validation_loss_rose": Text(
        "The validation loss rose to {last:.4g} after its lowest value, {smallest:.4g} at evaluation {number} of "
        "{count}: the model overfits the rows of the training.",
        "Lower epochs, or declare best_checkpoint: true, which takes the checkpoint with the lowest value.",
    ),
    "training.text_teaches_no_answering": (
        "Training on text teaches no answering: the model answers as its base does, and a base that was not made "
        "for chat continues the text instead."
    ),
}
