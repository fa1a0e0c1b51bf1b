# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``base_models``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "base_models.token_file_unreadable": Text(
        "The token file {path} cannot be read: {reason}.",
        "The user of the jobs, whom the data directory belongs to, has to be able to read it.",
    ),
    "base_models.token_file_invalid": "The token file {path} does not hold one token and nothing else.",
    "base_models.endpoint_invalid": "HF_ENDPOINT is not an http or https address without a user in it.",
    "base_models.certificates_unreadable": "The certificates in {path} cannot be read.",
    "base_models.not_a_hub": Text(
        "{endpoint} does not answer as a Hugging Face hub does.",
        "Look at HF_ENDPOINT and at the proxy.",
    ),
    "base_models.hub_interrupted": "{endpoint} interrupted its answer {tries} times.",
    "base_models.hub_name_unknown": Text(
        "{endpoint} cannot be reached: its name is not known here.",
        "Is this host online? A proxy is set with https_proxy, a mirror of the hub with HF_ENDPOINT.",
    ),
    "base_models.hub_refuses_connection": Text(
        "{endpoint} cannot be reached: connection refused.",
        "Is this host online? A proxy is set with https_proxy, a mirror of the hub with HF_ENDPOINT.",
    ),
    "base_models.hub_unreachable": Text(
        "{endpoint} cannot be reached: {reason}.",
        "Is this host online? A proxy is set with https_proxy, a mirror of the hub with HF_ENDPOINT.",
    ),
    "base_models.token_refused": Text(
        "{endpoint} does not accept the token: {reason}.",
        "Make a new one at {endpoint}/settings/tokens and write it into the token file.",
    ),
    "base_models.revision_unknown": Text("{model} has no revision {revision!r}.", "See {endpoint}/{model}/tree/main."),
    "base_models.file_unknown": "{model} has no such file at {revision}.",
    "base_models.model_not_on_hub": Text(
        "There is no model {model} on {endpoint}.",
        "{suggestion} Check its name there. {about_token}",
    ),
    "base_models.hub_busy": Text("{endpoint} answered {status} {reason}.", "Try again later."),
    "base_models.hub_answered": "{endpoint} answered {status} {reason} for {model}.",
    "base_models.access_not_granted": Text(
        "{model} is gated, and the account of this token has not been given access.",
        "Accept its licence at {endpoint}/{model} with the account that the token belongs to; some owners take "
        "a while to answer. A fine-grained token also needs the permission to read gated repositories.",
    ),
    "base_models.licence_not_accepted": Text(
        "{model} is gated: its licence has to be accepted first, and a token is needed to fetch it.",
        "Accept its licence at {endpoint}/{model}, make a token (read) at {endpoint}/settings/tokens, write it "
        "into a file on the host that only the user of the jobs can read, and name it: token_file "
        "(finetune_token_file in the inventory).",
    ),
    "base_models.file_differs": Text(
        "{endpoint} sends {file} of {model} with another size or digest than it reports.",
        "A proxy or a mirror may be changing it.",
    ),
    "base_models.download_stopped": Text(
        "{file} of {model} stopped at {current} of {total} bytes: {reason}",
        "Run again when the network is back: the download resumes from there.",
    ),
    "base_models.stopped": "Stopped.",
    "base_models.connection_failed": "{reason}",
    "base_models.no_config": Text("There is no config.json.", "Give weights in the Hugging Face format (safetensors)."),
    "base_models.no_directory": Text(
        "The base model {root} is not a directory on this host.",
        "Put the model's files there, or declare a name of Ollama's library or an id on the hub.",
    ),
    "base_models.directory_incomplete": Text(
        "The base model in {root} is incomplete or corrupt: {problem}",
        "{problem.hint}",
    ),
    "base_models.weights_corrupt": Text("{problem}", "Fetch or copy it again; it may also hold Git LFS pointers."),
    "base_models.no_index": "There is {file} but no {index} that says what is in which file.",
    "base_models.is_adapter": Text("It is an adapter.", "Merge it first, and give the merged weights."),
    "base_models.is_gguf": Text("It holds GGUF files, which cannot be trained.", "Give the Hugging Face weights."),
    "base_models.no_weights": "There are no weights (model*.safetensors or pytorch_model*.bin).",
    "base_models.not_named": Text("No base model was named.", "{suggestion}"),
    "base_models.relative_path": Text(
        "The base model {declared!r} is a relative path.",
        "Give the directory as an absolute path.",
    ),
    "base_models.not_in_catalogue": Text("There is no base model {declared!r} in the catalogue.", "{suggestion}"),
    "base_models.no_hub_id": Text("{declared!r} is not a Hugging Face id (organisation/name).", "{suggestion}"),
    "base_models.quantized_weights": Text(
        "{declared} holds quantized weights, which cannot be trained and merged.",
        "Name the 16-bit weights it was made from; for training in 4 bits use method: qlora with them.",
    ),
    "base_models.directory_with_blank": Text(
        "The directory of the base model, {root!r}, has a blank in its path.",
        "LLaMA-Factory's launcher splits its command line on blanks: rename it or link to it.",
    ),
    "base_models.template_unknown": Text(
        "The chat template of {model} is unknown: it is neither in the catalogue nor among the models that "
        "LLaMA-Factory names.",
        "Declare template: the format that the model was trained with. These can be served as they were trained: "
        "{known}. The catalogue has {families}.",
    ),
    "base_models.cannot_be_trained": Text("{model} cannot be used: {problem}", "{problem.hint}"),
    "base_models.tools_missing": "LLaMA-Factory is not installed in a virtual environment on this host",
    "base_models.checked_when_applied": "its files are checked when it is applied",
    "base_models.hub_silent": "the hub does not answer",
    "base_models.quantized_with": Text(
        "Its weights are quantized with {method}, and cannot be trained and merged.",
        "Name the 16-bit weights it was made from; for training in 4 bits use method: qlora with them.",
    ),
    "base_models.architecture_unknown": Text(
        "The installed LLaMA-Factory does not know its architecture {architecture!r}.",
        "Take a model of the catalogue, or a version of LLaMA-Factory that knows it.",
    ),
    "base_models.architecture_needs_code": Text(
        "The installed LLaMA-Factory does not know its architecture {architecture!r}; only code in the model's own "
        "repository does.",
        "Read that code, and declare extra: {{trust_remote_code: true}} if you trust it.",
    ),
    "base_models.architecture_without_attention": Text(
        "The installed LLaMA-Factory trains {architecture!r} only with an attention that the installed transformers "
        "cannot load.",
        "Take another base, or a LLaMA-Factory and a transformers that go together for it.",
    ),
    "base_models.architecture_not_converted": Text(
        "The installed converter of llama.cpp does not know its architecture {architecture!r}, so Ollama cannot serve "
        "it.",
        "Take a model of the catalogue, a later llama.cpp, or train it without a model (register: false).",
    ),
    "base_models.no_tokenizer": Text(
        "It has no tokenizer (none of {files:join|, | and }).",
        "Put the tokenizer of the model it was made from beside its weights.",
    ),
    "base_models.no_processor": Text(
        "LLaMA-Factory needs an image processor for the template {template}, and it has none (neither of "
        "{files:join|, | and }).",
        "Declare a template without images, or take a model that has one.",
    ),
    "base_models.tokens_missing": Text(
        "{tokens:quoted} of the template {template} are not in its vocabulary, so it would not learn where an answer "
        "ends.",
        "Declare the template that the model was trained with.",
    ),
    "base_models.pre_tokenizer_unknown": Text(
        "The installed converter of llama.cpp does not recognize its pre-tokenizer, so Ollama cannot serve it.",
        "Take a model whose tokenizer was not changed, or a later llama.cpp.",
    ),
    "base_models.tokenizer_not_inspected": "The tokenizer of the base could not be inspected: it was not checked.",
    "base_models.stop_words_missing": (
        "{tokens:quoted} of the template {template} are not in the base's vocabulary: LLaMA-Factory adds them, and the "
        "base has to learn them from your rows."
    ),
    "base_models.learns_chat": (
        "The base has no chat template. It learns to answer, and the format of {template}, from your rows only."
    ),
    "base_models.chat_differs": (
        "The base's own chat template writes {own!r} where {template} writes {ours!r}: the model learns the latter."
    ),
    "base_models.tools_differ": (
        "The base's own chat template describes tools differently from {template}: the model has to learn the use of "
        "tools again, from rows with tools."
    ),
    "base_models.media_in_text": Text(
        "Row {row} of the dataset {dataset} has the text {marker}, for which LLaMA-Factory expects an image, a video "
        "or a sound with the template {template}.",
        "Write it differently, or declare a template for text only.",
    ),
    "base_models.without_chat": Text(
        "{model} has no chat template: it is a base without chat.",
        "Declare template: the format to train it in, one of {known}; or take a model of the catalogue ({families}).",
    ),
    "base_models.size_unknown": Text("The hub does not report the size of {file}.", "Look at HF_ENDPOINT."),
    "base_models.repository_without_weights": Text(
        "{model} holds no weights that can be trained.",
        "{remarks:join| } Give a repository with weights in safetensors.",
    ),
    "base_models.repository_without_config": Text(
        "{model} has no config.json.",
        "Give a repository in the Hugging Face format.",
    ),
    "base_models.never_resolved": Text(
        "{model} has never been resolved on this host, and it may not ask the hub (offline).",
        "Run once with a network, copy models/base of another host, or give a directory with the weights.",
    ),
    "base_models.commit_unknown": "{endpoint} does not report the commit of {model} at {revision}.",
    "base_models.certificate_refused": Text(
        "{endpoint}: its certificate was not accepted ({reason}).",
        "Name the file of your own CA in SSL_CERT_FILE.",
    ),
    "base_models.private_needs_token": "If it is private, a token is needed (token_file).",
    "base_models.connection_cut": "the connection was cut",
    "base_models.forms_of_names": (
        "Give an Ollama-style name (qwen2.5:7b), a Hugging Face id (organisation/name) or an absolute directory."
    ),
    "base_models.gguf_cannot_be_trained": "Its GGUF files cannot be trained.",
    "base_models.repository_of_adapter": "It is an adapter.",
}
