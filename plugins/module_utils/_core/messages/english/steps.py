# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``steps``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "steps.download_unfinished": Text("The download did not finish.", "Run again: it resumes where it stopped."),
    "steps.hub_files_incomplete": Text("The files of {hub} at this commit are incomplete: {problem}", "{problem.hint}"),
    "steps.base_changed": Text(
        "The base model in {root} has changed since the run was submitted.",
        "Apply again: what is made from it gets a new name.",
    ),
    "steps.no_room_for_model": Text(
        "No room for {model}: it needs {missing:bytes} more of disk, {free:bytes} free at {root}.",
        "Make room there and run again: what was fetched before is kept. A complete fine-tune needs about five "
        "times the size of its base.",
    ),
    "steps.file_missing_after_download": Text("{file} is missing after the download.", "Run again."),
    "steps.file_damaged_after_download": Text(
        "{file} is damaged after the download.",
        "Run again: it is fetched again.",
    ),
    "steps.merged_incomplete_again": Text("The merged model is incomplete: {problem}", "Merge it again."),
    "steps.no_merged_weights": Text("There are no weights in {merged}.", "Merge it again."),
    "steps.no_gguf_written": Text("The tool ended without writing a GGUF file.", "Look into the job's log."),
    "steps.gguf_incomplete": Text("The GGUF file is incomplete: {problem}", "{problem.hint}"),
    "steps.gguf_parameters": Text(
        "The GGUF file holds {parameters} parameters, the merged model {expected}.",
        "The installed llama.cpp may not support this model.",
    ),
    "steps.tokenizers_not_compared": Text("The tokenizers were not compared.", "Look into the job's log."),
    "steps.tokenizer_differs": Text(
        "The GGUF file's tokenizer differs from the base's on {count} texts, such as {text!r}: {trained} in "
        "training, {served} when served.",
        "The model would answer worse than it was trained, and nothing would say why. Are the base's tokenizer "
        "files complete (tokenizer.model among them), and does the installed llama.cpp know this tokenizer?",
    ),
    "steps.quantized_tensors": Text(
        "The quantized file holds {count} tensors, the one it was made from {expected}.",
        "Apply again.",
    ),
    "steps.quantized_size": "The quantized file has {bytes} bytes, the 16-bit one {source_bytes}.",
    "steps.no_adapter": Text("There is no adapter in {directory}.", "Only the methods lora and qlora make one."),
    "steps.no_adapter_written": Text("The converter ended without writing a GGUF file.", "Look into the job's log."),
    "steps.adapter_tensors": Text(
        "The GGUF file holds {count} tensors of an adapter, the training's result {expected}.",
        "The installed llama.cpp may not support adapters of this model: use export: merged.",
    ),
    "steps.merged_incomplete": Text("The merged model is incomplete: {problem}", "Apply again."),
    "steps.export_unfinished": Text("The export did not finish.", "Look into the job's log."),
    "steps.tensors_lost": Text(
        "The merged model lacks {count} of the base's tensors, such as {tensor}.",
        "The installed transformers may not support this model for writing.",
    ),
    "steps.merged_no_numbers": Text(
        "The merged weights hold values that are no numbers ({tensor}).",
        "The base or the adapter is broken, or the values are too large for float16.",
    ),
    "steps.gate_interrupted": Text("The gate was not asked to its end.", "Apply again."),
    "steps.evaluation_interrupted": Text(
        "The evaluation did not come to its end.", "Apply again: the answers so far are kept."
    ),
    "steps.evaluation_gone": Text("The report of the evaluation is not in {directory} any more.", "Apply again."),
    "steps.evaluated_other_candidate": "{quantization} was registered again and is another model than the one asked",
    "steps.evaluated_other_served": "{alias} is another model than the one that was compared with",
    "steps.asking_model": "asking {model}",
    "steps.requirements_unmet": Text(
        "The evaluation is not passed: {lacking:join| } {summary} {consequence}\n{failures:join|\n}",
        "Better the prompts or the training, or require less: nothing is asked again then.",
    ),
    "steps.changed_meanwhile": Text("{problems:join|; }.", "Another program changed it meanwhile: run again."),
    "steps.kind_unknown": "There is no step {kind!r} that runs as a job.",
    "steps.no_room": Text(
        "{step} needs about {needed:bytes} of disk, {free:bytes} free at {path}.",
        "Make room on that filesystem and run again: what was finished before is kept.",
    ),
    # subjects of messages
    "steps.the_base": "The base model",
    "steps.the_training": "The training's result",
    "steps.the_dataset": "The dataset",
    "steps.the_merge": "The merged model",
    "steps.training": "Training",
    "steps.merging": "Merging",
    "steps.converting_to": "Converting to {quantization}",
    "steps.quantizing_to": "Quantizing to {quantization}",
    "steps.converting_adapter": "Converting the adapter",
    "steps.converting_encoder": "Converting the image encoder",
    "steps.comparing_files": "Comparing the quantizations",
    "steps.registering": "Registering",
    "steps.tool_moved": Text("{subject} is not at {path}.", "It was moved or removed: run again to rebuild it."),
    "steps.gpu_out_of_memory": Text(
        "The GPU ran out of memory.",
        "Lower batch_size (and raise gradient_accumulation by as much), then cutoff_len, then lora_rank; or "
        "use the method qlora. Models that Ollama keeps loaded take GPU memory as well.",
    ),
    "steps.tool_out_of_memory": Text(
        "The machine ran out of memory (RAM).",
        "Lower batch_size or cutoff_len, close what else runs, or add swap. Merging needs about 2 GB of RAM "
        "for each billion parameters.",
    ),
    "steps.tool_disk_full": Text(
        "The disk is full.",
        "Make room under the data directory and run again: a training resumes from its last complete checkpoint.",
    ),
    "steps.weights_gated": Text(
        "The model's weights are gated: the hub wants a token whose owner accepted the licence.",
        "Accept the licence on the model's page and give its token to the step base.",
    ),
    "steps.repository_code_needed": Text(
        "The model needs Python code of its own repository, which may not run here.",
        "If you trust that repository, declare it in the inventory: extra: {{trust_remote_code: true}}; its code is "
        "then fetched. Otherwise choose another base.",
    ),
    "steps.modules_missing": Text(
        "The base model has no modules {name}.",
        "Declare names of its linear modules in lora_target, or all.",
    ),
    "steps.validation_missing": Text(
        "There are no rows to evaluate on.",
        "Declare validation_share, or leave out of extra what evaluates.",
    ),
    "steps.attention_unknown": Text(
        "LLaMA-Factory knows no attention {name}.",
        "Declare flash_attn in extra as auto, disabled, sdpa or fa2, or leave it out.",
    ),
    "steps.template_unknown": Text(
        "LLaMA-Factory knows no template {name}.",
        "Set template to one that this version of LLaMA-Factory has.",
    ),
    "steps.argument_unknown": Text(
        "LLaMA-Factory does not know {name}.",
        "Look for a misspelling in extra, or for an argument of another version.",
    ),
    "steps.bitsandbytes_missing": Text(
        "The method qlora needs the package bitsandbytes, which is not installed.",
        "Install it into LLaMA-Factory's virtual environment, or use the method lora.",
    ),
    "steps.package_missing": Text(
        "The Python package {name} is not installed where the tool runs.",
        "Leave out the option that needs it, in extra for example, or install it into the environment or the image of "
        "the tool. If it belongs to the tool itself, run site.yml again.",
    ),
    "steps.base_too_new": Text(
        "The installed LLaMA-Factory does not know models of the type {name}.",
        "Choose another base model; a newer version of LLaMA-Factory may know this one.",
    ),
    "steps.configuration_torn": Text("A file is damaged: {line}", "If it is one of the base model, fetch it again."),
    "steps.shapes_differ": Text(
        "The weights of the base model have other shapes than its config.json says.",
        "Fetch the base model again. If it is a directory of your own, its config.json belongs to other weights.",
    ),
    "steps.no_permission": Text(
        "A file may not be read or written: {line}",
        "Jobs run as the owner of the data directory: give that user access.",
    ),
    "steps.no_bf16": Text("This device cannot compute in bf16.", "Set precision to fp16 or fp32."),
    "steps.gpu_unusable": Text(
        "PyTorch cannot use this GPU: {line}",
        "The driver, the GPU and the installed build of PyTorch do not fit together.",
    ),
    "steps.process_killed": Text(
        "A process of the training was killed by signal {name}.",
        "The kernel does that when memory runs out; if it did not, another process did. Apply again.",
    ),
    "steps.dataset_unusable": Text(
        "LLaMA-Factory could not use the dataset: {line}",
        "Make the dataset again with the module dataset.",
    ),
    "steps.file_torn": Text(
        "A weight or checkpoint file is torn: {line}",
        "Apply again: broken checkpoints are put aside. If the base model is broken, fetch it again.",
    ),
    "steps.tokenizer_unknown": Text(
        "The converter does not know the model's tokenizer: {line}",
        "Is this base model supported by the installed llama.cpp? Were its tokenizer files put back after merging?",
    ),
    "steps.architecture_unknown": Text(
        "The converter of the installed llama.cpp does not know the architecture {name}.",
        "Install a newer llama.cpp, or choose another base model.",
    ),
    "steps.file_missing": Text("A file is missing: {line}", "Is the base model's directory complete? Fetch it again."),
    "steps.nothing_written": Text("It wrote nothing.", "The complete log is in the job's directory."),
    "steps.last_line": Text("{line}", "The complete log is in the job's directory."),
    "steps.no_output": Text("no output", "The complete log is in the job's directory."),
    "steps.gate_shut": Text(
        "The gate is shut: {summary} {consequence}\n{failures:join|\n}",
        "Better the prompts or the training, or change the gate: only new questions are asked then.",
    ),
    "steps.alias_stays": "{alias} stays as it was.",
    "steps.nothing_served": "Nothing is served as {alias}.",
    "steps.surplus": "{description}",
    "steps.files_changed": "the files in {directory} have changed",
    "steps.code_not_fetched": "the code of the repository is declared and was not fetched: {files}",
    "steps.prompt_verified_elsewhere": "its prompt was verified on Ollama {before}, and this is Ollama {now}",
    "steps.verifying_prompt": "verifying the prompt",
    "steps.bos_unwanted": (
        "The GGUF file has {token} put before every prompt, and training with the template {template} did not: set "
        "tokenizer.ggml.add_bos_token to false in it."
    ),
    "steps.imatrix_needed": Text(
        "A quantization of so few bits needs an importance matrix.",
        "Declare imatrix: dataset, or a type that needs no matrix (q2_K and larger).",
    ),
    "steps.gguf_torn": Text(
        "A GGUF file is damaged: {line}", "Remove its directory and apply again: it is made again."
    ),
    "steps.imatrix_incomplete": Text(
        "The importance matrix lacks {name}: no training row has used these weights, and a type of so few bits needs "
        "that.",
        "Add rows to the dataset, or declare a type that needs no matrix (q2_K and larger).",
    ),
    "steps.image_without_llamafactory": Text(
        "The image with llama.cpp has no LLaMA-Factory, which renders the rows.",
        "Use the image that the role llamafactory builds (images/llama-cpp).",
    ),
    "steps.too_few_tokens": Text(
        "The rows have {name} tokens in all, too few to measure anything.",
        "Add rows to the dataset: 256 tokens are the least.",
    ),
    "steps.text_too_short": Text(
        "The rows have {tokens} tokens in all, and {minimum} are needed.", "Add rows to the dataset."
    ),
    "steps.rows_not_rendered": Text("The rows were not rendered.", "Look into the job's log."),
    "steps.no_imatrix_written": Text(
        "llama-imatrix ended without writing an importance matrix.", "Look into the job's log."
    ),
    "steps.weighing": "weighing the weights",
    "steps.not_compared": Text("llama-perplexity has printed no figures of {name}.", "Look into the job's log."),
    "steps.comparing_quantizations": "comparing the quantizations",
    "steps.no_training_receipt": Text("The receipt of the training is missing.", "Apply the fine-tune again."),
    "steps.training_receipt_missing": "the receipt of the training is missing",
    "steps.probes_not_rendered": "LLaMA-Factory could not render them here: {reason!s}",
    "steps.llamafactory_in_image": "it is installed in an image only",
    "steps.probe_unknown": "this version of the collection does not know it",
    "steps.probe_not_rendered": "LLaMA-Factory cannot render it: {reason}",
    "steps.own_system_prompt": "the model is registered with a system prompt of its own",
    "steps.prompt_not_verified": Text("The prompt of {tag} was not verified.", "Apply again."),
    "steps.hold_not_replaced": Text("{tag} is still pinned, and {replacement} is not.", "Apply again."),
    "steps.never_registered": "it was never registered",
    "steps.no_encoder": Text(
        "The weights in {directory} have no image encoder: no tensor has a name that starts with {prefixes}.",
        "Compare the files with those on the hub: one may be missing.",
    ),
    "steps.encoder_unknown": Text(
        "The image encoder of the architecture {architecture!r} is not known.", "Known are: {known}."
    ),
    "steps.no_projector_written": Text(
        "llama.cpp's converter ended without writing the image encoder.", "See its log for the reason."
    ),
    "steps.projector_parameters": Text(
        "The converted image encoder has {parameters} parameters, and that of the base has {expected}.",
        "The converter has left out a part. Use the version of llama.cpp that this collection installs.",
    ),
    "steps.server_without_vision": Text(
        "Ollama {version} at {url} has accepted the image encoder of {tag} but does not use it.",
        "No tag was moved. Use a newer version of Ollama.",
    ),
    "steps.registered_with_other": "{tag} has another {properties:join| and }",
    "steps.quantizing": "quantizing",
    "steps.converting": "converting",
    "steps.comparing_tokens": "comparing tokens",
    "steps.uploading": "uploading",
    "steps.promoting": "promoting",
    "steps.hashing": "hashing",
    "steps.status_of_ollama": "{status}",
    "steps.loading": "loading",
    "steps.writing": "writing",
    "steps.no_eos_token": "{path} names no EOS token, with which answers end in the template {template}.",
    "steps.file_changed": Text(
        "{path} is not the file its receipt records: something changed it.",
        "Remove its directory and run again.",
    ),
    "steps.file_type_differs": Text("{path} is {actual}, and not {expected} as its name says.", "Make it again."),
    "steps.tag_missing": Text("{tag} is not in Ollama at {url}.", "Its log says more; run again."),
    "steps.registered_differently": Text(
        "{tag} has another {properties} than it was created with.",
        "Look at the log of Ollama.",
    ),
    "steps.no_result_saved": Text(
        "The training ended without saving a result.",
        "It may have been stopped before its first step; look into the job's log.",
    ),
    "steps.training_stopped": Text(
        "The training was stopped at step {current} of {total}; its checkpoint is kept.",
        "Apply again to resume from it.",
    ),
    "steps.result_incomplete": Text(
        "The training finished all its steps but its result is incomplete.",
        "Check whether the disk is full, and apply again: it resumes from its last checkpoint.",
    ),
    "steps.nodes_restart": (
        "It starts from the beginning: on a CPU several processes cannot resume from a checkpoint."
    ),
    "steps.nodes_resume": "It resumes from the last checkpoint that all nodes have.",
    "steps.no_best_checkpoint": Text(
        "The training has no best checkpoint: no validation loss was a number, or the checkpoint was deleted.",
        "Lower learning_rate (to a tenth), or leave out best_checkpoint.",
    ),
    "steps.training_diverged": Text(
        "The training diverged: {file} holds values that are no numbers ({tensor}).",
        "Lower learning_rate (to a tenth), or raise warmup_ratio.",
    ),
    "steps.adapter_untrained": Text(
        "The trained adapter changes nothing: after {steps} {steps:step|steps} all its B matrices are still zero.",
        "Raise epochs or add rows, so that there are more steps; lower warmup_ratio; or raise learning_rate.",
    ),
    "steps.too_few_gpus": Text(
        "The training needs {wanted} {wanted:GPU|GPUs}, and {there} can be used.",
        "Check that nvidia-smi reports all of them, and that neither CUDA_VISIBLE_DEVICES nor gpus of the containers "
        "leaves one out.",
    ),
    "steps.dataset_incomplete": "The dataset at {directory} is incomplete: {problem}",
    "steps.dataset_entries": "dataset_info.json in {directory} should have one entry, not {count}.",
    "steps.model_unusable": Text(
        "{tag} cannot be used in Ollama at {url}: {reason}.", "No tag was moved. {problem.hint}"
    ),
    "steps.prompt_not_proven": Text(
        "Ollama at {url} does not give {tag} the prompt it was trained with. {difference}",
        "No tag was moved. Is this version of Ollama supported, and the GGUF file made from this training?",
    ),
}
