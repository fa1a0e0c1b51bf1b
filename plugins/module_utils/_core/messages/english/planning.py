# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``planning``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "planning.likelihood_without_rows": Text(
        "{name}: evaluation.likelihood needs rows that are not trained on, and none are declared.",
        "Declare evaluation.held_out, evaluation.rows or validation_share.",
    ),
    "planning.likelihood_of_shared_base": Text(
        "{name}: with export: adapter there are no quantized files of this fine-tune that evaluation.likelihood could "
        "compare.",
        "Leave evaluation.likelihood out, or declare export: merged.",
    ),
    "planning.nothing_to_compare": Text(
        "{name}: evaluation.likelihood compares quantized files with the 16-bit one, and none is declared "
        "({quantizations:join|, }).",
        "Leave evaluation.likelihood out, or declare a quantization such as q4_K_M.",
    ),
    "planning.base_needs_imatrix": Text(
        "{name}: evaluation.against has base, which would be quantized to {type} without an importance matrix.",
        "Declare another quantization first, or leave base out of evaluation.against.",
    ),
    "planning.program_missing": Text(
        "{option} needs {program}, which is not in {directory}: llama.cpp was built there by an earlier version.",
        "Run the role ia_homelab.llamafactory.llamafactory again; it builds what is missing.",
    ),
    "planning.merge_on_the_way": "on the way to the GGUF file, without merged weights",
    "planning.merge_of_shared_base": "on the way to the GGUF file, without merged weights; export: adapter would write "
    "{adapter:bytes} instead of {merged:bytes}, because its base is shared with {others:join|, | and }, for answers "
    "that take slightly longer to compute",
    "planning.merge_needs_weights": "merged weights are written: {reason}",
    "planning.merge_kept": "merged weights are written and kept",
    "planning.template_kept": Text(
        "The chat template {template} of {model} was derived by an earlier version, from its name or its files, and is "
        "kept because a training used it.",
        "Declare template: {template} if that is its format.",
    ),
    "planning.other_recipe": "other rules for the prompt, nothing is trained",
    "planning.rows_held_out": "the training no longer reads {count} of the {rows} rows",
    "planning.other_rows_held_out": "other rows are trained on",
    "planning.not_held_out": Text(
        "{name}: the training that is kept holds out {kept:g} of the questions, not {share:g}: it has read rows that "
        "would be asked.",
        "Train again (regenerate: on_change, with hyperparameters in regenerate_on), declare held_out {kept:g}, or ask "
        "a dataset that is not trained on (evaluation, rows).",
    ),
    "planning.nothing_held_out": Text(
        "{name}: the training that is kept has read all rows; none is held out.",
        "Train again (regenerate: on_change, with hyperparameters in regenerate_on), or ask a dataset that is not "
        "trained on (evaluation, rows).",
    ),
    "planning.gate_without_aliases": Text(
        "A gate is declared, and no aliases that stand behind it.",
        "Give aliases, such as [latest].",
    ),
    "planning.evaluation_without_aliases": Text(
        "An evaluation is declared, and no aliases that stand behind it.",
        "Give aliases, such as [latest].",
    ),
    "planning.allowed_failures_twice": Text(
        "allowed_failures is declared for the gate and in require of the evaluation.", "Declare it once."
    ),
    "planning.evaluates_trained_rows": Text(
        "rows of the evaluation is the dataset {name}, which is trained on.",
        "Use held_out, which keeps a share of its questions from the training, or another dataset.",
    ),
    "planning.evaluation_dataset": Text(
        "{option} of the evaluation: {problem}", "{suggestion} Declare it in finetune_datasets."
    ),
    "planning.guards_trained_rows": Text(
        "guard of the evaluation is the dataset {name}, which is trained on.",
        "Use general, the set of questions that ships, or another dataset.",
    ),
    "planning.requirements_unchecked": (
        "Whether the questions suffice for what the evaluation requires is checked when its datasets are published, "
        "before anything is trained."
    ),
    "planning.nothing_to_ask": Text(
        "The evaluation has no questions.", "A larger share of held_out, or another dataset, has some."
    ),
    "planning.unattainable": Text("{problems:join| }", "{first.hint}"),
    "planning.name_invalid": Text(
        "{name!r} is not a name for a model.",
        "Use letters, digits, '.', '_' and '-', at most 80, a letter or digit first.",
    ),
    "planning.base_model_invalid": "base_model must name a model, not {name!r}.",
    "planning.finetunes_invalid": (
        "finetunes must be a list of fine-tunes, or a dictionary of them by name, not {value}."
    ),
    "planning.name_differs": Text(
        "finetunes: the fine-tune {name!r} has another name inside: {inside}.",
        "Leave name out: the key is the name.",
    ),
    "planning.entry_no_mapping": "{entry} must be a mapping of options, not {value}.",
    "planning.options_without_name": Text(
        "finetunes has the options of one fine-tune where a list is expected.",
        "Begin the entry with a hyphen (- name: …), or put the options below the name of the fine-tune.",
    ),
    "planning.node_differs": Text(
        "{name}: {host} has another {input} than {leader}: {value}, not {leader_value}.",
        "{advice}",
    ),
    "planning.accelerators_differ": Text(
        "{name}: {leader} trains on {leader_accelerator}, {host} on {accelerator}.",
        "Hosts that train together need the same: set llamafactory_accelerator for all of them.",
    ),
    "planning.several_hosts": Text(
        "{name}: several hosts must train it together, but it was submitted to only one of them.",
        "Submit it with the role ia_homelab.llamafactory.finetune (playbooks/finetune.yml), or leave out nodes.",
    ),
    "planning.nothing_to_start_from": "The request names nothing to start from.",
    "planning.adapter_of_other_base": Text(
        "The adapter {adapter} does not stand on the GGUF file {gguf}.",
        "Give the file of its base: the module gguf makes both with its option adapter.",
    ),
    "planning.gguf_template_unknown": Text("The chat template of {gguf} is unknown.", "Give template."),
    "planning.result_missing": Text(
        "There is no {kind} {fingerprint} in {directory}.",
        "Give the fingerprint that the module {module} has returned.",
    ),
    "planning.option_not_allowed": Text("{name}: {option} has {value!r}.", "There are: {allowed}."),
    "planning.plan_unreadable": Text(
        "{name}: it is no plan that this version of the collection can read.",
        "Make the plan again.",
    ),
    "planning.plan_file_unreadable": Text(
        "The plan {path} cannot be read: {reason}.", "playbooks/plan.yml -e finetune_plan_file={path} writes it."
    ),
    "planning.plan_file_invalid": Text(
        "{path} is no plan.", "playbooks/plan.yml -e finetune_plan_file=FILE writes one."
    ),
    "planning.plan_file_unwritable": Text(
        "The plan cannot be written to {path}: {reason}.", "Name another file with -e finetune_plan_file=FILE."
    ),
    "planning.plan_stale": Text(
        "The plan is stale: {reasons:join|. }.",
        "Make the plan again, look at it, and apply that.",
    ),
    "planning.publish_same_file": "Publish {dataset} from the same file on all of them: name it in finetune_datasets.",
    "planning.copy_base": "Copy {base_model} of one of them to the others.",
    "planning.declare_revision": "Its name was resolved at different times: declare base_revision, the commit.",
    "planning.no_effect": Text(
        "{options} {count:has|have} no effect with {cause}, which ends with {result}.",
        "{count:Leave it out.|Leave them out.} {alternative}",
    ),
    "planning.ends_with_adapter": "the trained adapter",
    "planning.ends_with_gguf": "the GGUF files",
    "planning.request_model": "Or request goal: model, which trains nothing again that is trained already.",
    "planning.declare_register": "Or declare register: true.",
    "planning.changed": "{input} {before} → {after}",
    "planning.changed_in": "{input} {before} → {after} ({detail})",
    "planning.row_counts": "{before} rows → {after}",
    "planning.tools_changed": "the tools {names} changed",
    "planning.rows_added": "{count} {count:row|rows} added",
    "planning.added": "{count} added",
    "planning.rows_removed": "{count} {count:row|rows} removed",
    "planning.removed": "{count} removed",
    "planning.rows_changed": "{count} {count:row|rows} changed",
    "planning.rows_changed_as_well": "{count} changed",
    "planning.rows_differ": "{parts}",
    "planning.rows_reordered": "the same rows in another order or form",
    "planning.nothing_to_do": "{name}: nothing to do",
    "planning.nothing_to_do_unchecked": "{name}: nothing to do ({unchecked})",
    "planning.steps_to_run": "{name}: {count} of {total} steps would run",
    "planning.step_kept": "kept",
    "planning.step_kept_unchecked": "kept ({reason})",
    "planning.step_not_needed": "not needed",
    "planning.needs_disk": "disk {disk:bytes} of {free:bytes} free at {path}",
    "planning.needs_gpu": "GPU {vram:bytes} of {total:bytes} ({free:bytes} free now)",
    "planning.needs_ram": "RAM {ram:bytes} of {free:bytes} free",
    "planning.about_seconds": "about {seconds} s",
    "planning.about_minutes": "about {minutes} min",
    "planning.about_hours": "about {hours} h",
    "planning.new_finetune": "a new fine-tune",
    "planning.new_step": "new in this fine-tune",
    "planning.asked_again": "it is asked for again",
    "planning.made_from_another": "made from another {inputs:join| and }",
    "planning.encoder_not_served": (
        "{model} accepts images or audio, but the fine-tune is served as a text model: its encoder is not served for "
        "the architecture {architecture} (it is for {known})."
    ),
    "planning.encoder_trained": (
        "{model} accepts images, but the fine-tune is served as a text model: with {argument}: false the training "
        "changes the encoder, so that of the base would not match. Without that argument the encoder is served, too."
    ),
    "planning.encoder_needs_ollama": (
        "{model} accepts images, but the fine-tune is served as a text model: Ollama at {url} is version {version}, "
        "which cannot run its encoder. With {minimum} or later, it is registered again with the encoder."
    ),
    "planning.encoder_missing": (
        "{model} has an architecture that accepts images, but the fine-tune is served as a text model: the weights on "
        "this host have no encoder (tensors whose names start with {prefixes})."
    ),
    "planning.disk_short": Text(
        "{name}: the steps still to be made need about {needed:bytes} of disk, and {free:bytes} are free at {path}.",
        "Free space there.",
    ),
    "planning.ram_short": Text(
        "{name}: the largest of its steps takes about {needed:bytes} of memory, and the machine has {total:bytes} and "
        "{swap:bytes} of swap.",
        "Add swap space, or choose a smaller base model.",
    ),
    "planning.server_silent": Text(
        "{name}: the last steps need Ollama at {url}, which does not answer: {problem}",
        "Start it, or declare register: false to end with the GGUF files.",
    ),
    "planning.not_begun": Text(
        "Nothing was started, because the run cannot finish. {obstacles!s:join| }",
        "Correct this and apply again. To start nevertheless, declare preflight_check: warn.",
    ),
    "planning.gpu_short": (
        "{name}: the training takes about {needed:bytes} of GPU memory, and {free:bytes} are free now: another "
        "process uses the GPU (see the module gpu_info)."
    ),
    "planning.warnings_of": "{name}: {warnings!s:join| }",
    "planning.pinned_hyperparameters": (
        "changed hyperparameters do not count, and nothing is trained for them: {changed} (regenerate, regenerate_on)."
    ),
    "planning.pinned_input": (
        "the {input} has changed, and does not count: {kept} is kept (regenerate, regenerate_on)."
    ),
    "planning.was_not_part": "{name} was not part of it",
    "planning.no_longer_wanted": "{step} is no longer wanted",
    "planning.step_changed": "{step}: {changes:join|; }",
    "planning.other_inputs": "{step}: its inputs are others",
    "planning.is_not_there": "{step} was there and is not: {cause}",
    "planning.is_needed_now": "{step} was not needed and is now: {cause}",
    "planning.is_not_as_needed": "{step} was not to run and is now: {cause}",
    "planning.aliases_changed": "aliases {before} → {after}",
    "planning.no_longer_declared": "{name} is no longer declared",
    "planning.stale_finetune": "{name}: {difference}",
    "planning.distinct_systems": "{count} different system prompts",
    "planning.one_system": "one system prompt",
    "planning.rows_without_system": ", and {count} rows have none",
    "planning.most_common_system_served": (
        "The rows hold {kinds}{rest}: the model is served with the most common one, of {count} rows."
    ),
    "planning.system_of_template": "the template's own ({system!r})",
    "planning.no_system": "none",
    "planning.default_system_served": (
        "The rows hold {kinds}{rest}: the model is served with {served}, as most rows were trained."
    ),
}
