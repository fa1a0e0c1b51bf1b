# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the training service."""

from __future__ import annotations

from ia_homelab_core.messages.text import Text, Texts

TEXTS: Texts = {
    "service.extra_refused": Text(
        "extra.{argument} is not accepted in a request: {reason}.",
        "{suggestion} Declare it in an inventory, or let everyone who may train run code here: "
        "training_service_allow_remote_code: true.",
    ),
    "service.upload_too_large": Text(
        "The upload is larger than the {bytes} bytes there is room for.",
        "Delete files that are no longer needed, or raise training_service_upload_quota_bytes.",
    ),
    "service.job_id_invalid": "{job!r} is not the id of a job.",
    "service.job_unknown_suggested": Text("There is no job {job!r}.", "{problem.hint}"),
    "service.job_unknown": "There is no job {job!r}.",
    "service.model_not_registered": "There is no model {tag!r} that a run has registered.",
    "service.model_gone": Text("{tag} is not in Ollama any more.", "Ask for its fine-tune again."),
    "service.no_model": "No run has registered a model {name!r}.",
    "service.job_trains_nothing": Text(
        "The job {job} trains nothing.",
        "Export a job that POST /api/train has returned.",
    ),
    "service.job_not_trained": Text(
        "The job {job} has not been trained yet.",
        "Wait until GET /api/status/{job} reports succeeded.",
    ),
    "service.job_ended": "The job {job} has ended: there is nothing to pause.",
    "service.job_succeeded": "The job {job} has succeeded: there is nothing to resume.",
    "service.step_unknown": Text("The job {job} has no step {step!r}.", "Its steps are {known}."),
    "service.no_token_list": Text("{path} is no list of tokens.", 'Each is {{"name", "scopes", "sha256"}}.'),
    "service.no_token_set": Text(
        "{host} is reached by other machines, and no token is set: anybody could train and delete here.",
        "Set training_service_tokens, listen on 127.0.0.1, or say training_service_allow_unauthenticated: true.",
    ),
    "service.body_too_large": "The body is larger than {limit} bytes.",
    "service.file_unknown": "There is no file {file_id!r}.",
    "service.model_unknown": "There is no model {model!r}.",
    "service.no_json": "{path} is not JSON: {reason}.",
    "service.form_too_old": Text("The form was too old.", "Send it again."),
    "service.origin_missing": "A browser's session needs an Origin for this.",
    "service.wrong_fields": Text("The request has wrong fields: {fields}.", "{only.hint}"),
    "service.row_invalid": Text("Row {row}: {defect}.", "{defect.hint}"),
    "service.field_unknown": Text("There is no field {field!r}.", "{suggestion}"),
    "service.inventory_only": Text(
        "{option} is declared in an inventory: several hosts train together only where Ansible asks them all.",
        "Apply it with playbooks/finetune.yml.",
    ),
    "service.goal_twice": "goal is given twice: as {first} and as {second}.",
    "service.goal_unknown": "goal must be one of {known}, not {goal!r}.",
    "service.export_format_unknown": Text("There is no format {format!r}.", "The format is gguf."),
    "service.row_format_unknown": Text("There is no format {format!r}.", "{suggestion}"),
    "service.body_no_object": "The body must be a JSON object.",
    "service.field_missing": "{field} is missing.",
    "service.field_no_text_but": "{field} must be text, not {value!r}.",
    "service.field_invalid": "{reason}",
    "service.file_missing": "There is no file in the request, or it is empty.",
    "service.field_no_json": '{field} must be JSON such as {{"temperature": 0.2}}, not {value!r}.',
    "service.field_no_text": "{field} must be text.",
    "service.no_validation_file": Text(
        "Rows to validate on are a share of those of training_file here; a file of their own is not taken.",
        "Leave it out, and give validation_share, such as 0.1, in extra_body.",
    ),
    "service.no_integrations": Text("There are none here.", "Leave it out."),
    "service.metadata_invalid": "metadata must be an object of at most {limit} short texts.",
    "service.method_unknown": Text("There is no method {method!r} here.", "Use supervised."),
    "service.method_no_object": 'method must be an object such as {{"type": "supervised"}}.',
    "service.hyperparameters_no_object": "hyperparameters must be an object.",
    "service.number_or_auto": "{field} must be a number or auto.",
    "service.purpose_unknown": "Files are kept for fine-tune only, not for {purpose!r}.",
    "service.settings_invalid": "{path}: {problems:join|; }.",
    "service.scope_missing": "This token may not do that: it lacks the scope {scope}.",
    "service.token_needed": Text("This needs a token.", "Send the header Authorization: Bearer TOKEN."),
    "service.sign_in_needed": Text(
        "This needs a token.",
        "Sign in at /login, or send the header Authorization: Bearer TOKEN.",
    ),
}
