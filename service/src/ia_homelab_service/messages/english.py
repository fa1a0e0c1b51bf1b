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
    "service.not_evaluated": Text(
        "{tag} was not evaluated.", "Declare evaluation or gate for its fine-tune, and apply it."
    ),
    "service.nothing_to_compare": Text(
        "{tag} and {against} have not answered a common question.",
        "Evaluate both with the same rows, guard or gate.",
    ),
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
    "service.no_token_list": Text(
        "{path} is no list of tokens.",
        'Each entry is {{"name", "scopes", "sha256"}}: scopes are read and train, sha256 is that of the token.',
    ),
    "service.no_token_set": Text(
        "No token is set: every user of this machine could train and delete.",
        "Set tokens_file (the role training_service makes one), or say no_token: true (training_service_no_token).",
    ),
    "service.tokens_no_json": Text(
        "{path} is no list of tokens: it is not JSON.",
        'Each entry is {{"name", "scopes", "sha256"}}: scopes are read and train, sha256 is that of the token.',
    ),
    "service.token_invalid": Text(
        "Entry {number} of {path} is no token.",
        'Each entry is {{"name", "scopes", "sha256"}}: scopes are read and train, sha256 is that of the token.',
    ),
    "service.token_digest_invalid": Text(
        "The sha256 of the token {name!r} in {path} is not 64 hexadecimal digits.",
        'Each entry is {{"name", "scopes", "sha256"}}: scopes are read and train, sha256 is that of the token.',
    ),
    "service.token_scopes_invalid": Text(
        "The scopes of the token {name!r} in {path} must be some of read and train.",
        'Each entry is {{"name", "scopes", "sha256"}}: scopes are read and train, sha256 is that of the token.',
    ),
    "service.tokens_unreadable": "The tokens in {path} cannot be read: {reason}.",
    "service.token_list_empty": Text(
        "{path} has no token: nobody could use the service.",
        "Set training_service_tokens, or leave them out: the role makes a token.",
    ),
    "service.no_token_with_tokens": Text(
        "no_token is true, and there are tokens in tokens_file.",
        "Leave out training_service_no_token to use the tokens, or training_service_tokens to have none.",
    ),
    "service.no_token_on_network": Text(
        "{host} is reached by other machines, and no_token is true: all of them could train and delete.",
        "Leave out training_service_no_token, or listen on 127.0.0.1.",
    ),
    "service.no_token_behind_proxy": Text(
        "no_token is true, and trusted_proxies may forward requests: any client behind them could train and delete.",
        "Leave out training_service_no_token, or training_service_trusted_proxies.",
    ),
    "service.token_needed_on_host": Text(
        "It needs a token of the service; {variable} and {file_variable} have none that is known.",
        "Set {file_variable} to the file with the token, such as {example}.",
    ),
    "service.token_file_unreadable": "The token file {path} ({variable}) cannot be read: {reason}.",
    "service.token_file_empty": "The token file {path} ({variable}) is empty.",
    "service.not_text": "it is not text",
    "service.nobody_signs_in": Text("The service has no tokens (no_token), so nobody signs in.", "Open {url}/."),
    "service.token_unknown": Text("There is no token of the name {name!r}.", "There are: {known}."),
    "service.sign_in_code_not_written": Text(
        "No sign-in code can be written below {path}: {reason}.", "Run this as root, or as the user of the service."
    ),
    "service.body_too_slow": "The body of the request did not arrive within {seconds} seconds.",
    "service.title_too_slow": "Too slow",
    "service.body_too_deep": "The body is nested more than {limit} levels deep.",
    "service.form_too_many_fields": "The form has more than {limit} fields.",
    "service.event_queued": "Queued.",
    "service.event_queued_again": "Queued again.",
    "service.event_cancelling": "Stop requested.",
    "service.event_step_started": "{step} started.",
    "service.event_evaluated": "{version}: {line}",
    "service.event_step_done": "{step} is done.",
    "service.event_step_stopped": "{step} was stopped.",
    "service.event_step_failed": "{step} failed.",
    "service.event_step_failed_because": "{step} failed: {problem}",
    "service.event_succeeded": "Succeeded.",
    "service.event_cancelled": "Cancelled.",
    "service.event_failed": "Failed.",
    "service.event_failed_because": "Failed: {problem}",
    "service.title_bad_request": "Bad request",
    "service.title_token_needed": "Token needed",
    "service.title_not_allowed": "Not allowed",
    "service.title_not_found": "Not found",
    "service.title_method_not_allowed": "Method not allowed",
    "service.title_conflict": "Conflict",
    "service.title_too_large": "Too large",
    "service.title_unsupported_media_type": "Unsupported media type",
    "service.title_wrong_host": "Wrong host",
    "service.title_wrong_fields": "Wrong fields",
    "service.title_too_many": "Too many",
    "service.title_failure": "Failure",
    "service.title_another_server_failed": "Another server failed",
    "service.title_not_ready": "Not ready",
    "service.title_error": "Error",
    "service.path_unknown": "There is nothing at {path}.",
    "service.method_not_allowed": "{path} does not accept {method}.",
    "service.request_rejected": "{reason}",
    "service.failed": Text("The service failed.", "This is a defect: see the log of the service."),
    "service.host_unknown": Text(
        "This service is not known by that name.",
        "Add the name to training_service_allowed_hosts if it is one of this machine's.",
    ),
    "service.host_unknown_without_tokens": Text(
        "This service is not known by that name.",
        "Without tokens (training_service_no_token) it is reached as 127.0.0.1 or localhost only.",
    ),
    "service.forwarded": Text(
        "The request was forwarded by a proxy ({header}).",
        "Add the address of the proxy to training_service_trusted_proxies if it is yours.",
    ),
    "service.forwarded_without_tokens": Text(
        "The request was forwarded by a proxy ({header}).",
        "Without tokens (training_service_no_token) no request is accepted from a proxy.",
    ),
    "service.origin_not_allowed": Text(
        "Pages of another site may not do this.",
        "Add its origin to training_service_allowed_origins if it is yours.",
    ),
    "service.too_many_streams": "There are too many event streams.",
    "service.rows_wrong": Text(
        "{total} {total:thing is|things are} wrong with the rows. The first: {place}: {problem}.",
        "{problem.hint}",
    ),
    "service.stopping": "The service is stopping.",
    "service.no_server_answers": "No server of models answers.",
    "service.server_silent": Text("{server} does not answer: {reason}.", "Check that it is running."),
    "service.server_error": "{reason}",
    "service.server_gave_no_reason": "The server gave no reason.",
    "service.answer_broke_off": "The answer broke off: {reason}.",
    "service.body_not_sent_as_json": "The body must be JSON, sent with Content-Type: application/json.",
    "service.body_no_json": "The body is not JSON.",
    "service.body_half_character": "The body contains an incomplete character (a lone surrogate).",
    "service.body_too_large": "The body is larger than {limit} bytes.",
    "service.body_too_large_here": Text(
        "The body is larger than {limit} bytes.", "If it is intended, raise {variable}."
    ),
    "service.file_unknown": "There is no file {file_id!r}.",
    "service.model_unknown": "There is no model {model!r}.",
    "service.no_json": "{path} is not JSON: {reason}.",
    "service.form_too_old": Text("The form was too old.", "Send it again."),
    "service.origin_missing": "A browser's session needs an Origin for this.",
    "service.wrong_fields": Text("The request has wrong fields: {fields}.", "{only.hint}"),
    "service.row_invalid": Text("Row {row}: {defect}.", "{defect.hint}"),
    "service.field_unknown": Text("There is no field {field!r}.", "{suggestion}"),
    "service.field_given_twice": Text("{field} and {other} mean the same here, and differ.", "Give one of them."),
    "service.fixed_on_the_page": Text("{field} is always {value} on the page.", "Leave it out."),
    "service.field_not_supported": Text("{field} has no effect on a model of this server.", "Leave it out."),
    "service.field_value_not_supported": Text(
        "{field} cannot be {value!r}: the server of the model has no such setting.", "Leave it out, or give {known}."
    ),
    "service.option_of_ollama": Text(
        "{field} is an option of Ollama's own interface, which ignores it here.",
        "Set it in parameters of the fine-tune, or ask Ollama at /api/chat.",
    ),
    "service.path_without_v1": Text(
        "There is nothing at {path}.",
        "The address of OpenAI's interface ends in /v1, such as {example}; that of REST in /api.",
    ),
    "service.model_alias": Text(
        "{name!r} is not a version, but a name that is moved from one version to another.",
        "Delete a version by its own tag, such as {tag}.",
    ),
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
    "service.suffix_invalid": Text(
        "suffix cannot be {suffix!r}: of its letters and digits the name of the model is made.",
        "Give 1 to {limit} of them, or leave it out.",
    ),
    "service.no_validation_file": Text(
        "Rows to validate on are a share of those of training_file here; a file of their own is not taken.",
        "Leave it out, and give validation_share, such as 0.1, in extra_body.",
    ),
    "service.no_integrations": Text("There are none here.", "Leave it out."),
    "service.metadata_invalid": "metadata must be an object of at most {limit} short texts.",
    "service.status_unknown": Text("No job has the status {status!r}.", "{suggestion}"),
    "service.method_unknown": Text("There is no method {method!r} here.", "Use supervised or dpo."),
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
