# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the modules."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "modules.runner_unknown": Text("There is no runner {runner!r}.", "The runners are auto, {known}."),
    "modules.runner_without_image": Text(
        "The runner {runner} needs an image with LLaMA-Factory.",
        "Name it in toolchain.llamafactory_image (llamafactory_image in the inventory), or choose runner: process.",
    ),
    "modules.options_of_other_state": Text(
        "{options} {count:has|have} no effect with state: {state}.", "{count:Leave it out.|Leave them out.}"
    ),
    "modules.unchecked_model": "{model} is not checked: Ollama is stopped for the training {training}.",
    "modules.unchecked_steps": "{name}: {steps:join| and } {count:is|are} {reason}.",
    "modules.finding_of": "{name}: {finding}",
    "modules.killed": "The process of the module was killed by signal {signal}.",
    "modules.nothing_to_evaluate": Text("There is nothing to ask.", "Declare at least one of gate, rows and guard."),
    "modules.rows_without_data_dir": Text(
        "{option} names the published dataset {name}, and no data_dir says where it is.", "Declare data_dir."
    ),
    "modules.place_option": "the option {option}",
    "modules.files_not_transferred": Text(
        "The files of the controller were not transferred.",
        "Call the module by its full name.",
    ),
    "modules.program_missing": Text("{program} is not on this host.", "Install Docker Engine first."),
    "modules.configuration_refused": Text(
        "The engine does not take the new {path}: {reason}",
        "The file was not changed. Correct the declared settings or the existing content of the file.",
    ),
    "modules.engine_too_old": Text(
        "{program} is version {version}, and this needs {minimum} or newer.",
        "Upgrade the engine. {path} was not changed.",
    ),
    "modules.one_change_of_settings": "Give only one of merge, undo and restore.",
    "modules.variable_decided": Text(
        "environment sets {name}, which the other options decide.",
        "Remove it; see host, port, models_dir and data_dir.",
    ),
    "modules.not_a_variable": Text(
        "environment has no usable variable {name!r}.",
        "A name consists of letters, digits and underscores; a value is a number or one line of text, true and false "
        "in quotes.",
    ),
    "modules.no_backup": Text(
        "There is no backup of the settings, {path}.",
        "Nothing was changed. Give the path of a backup that this module has written.",
    ),
    "modules.step_unknown": Text("There is no kind of step {kind!r}.", "The kinds are {known}."),
    "modules.cancel_what": "Say which run to cancel: give run or name.",
    "modules.dismiss_what": "Say which run to dismiss: give run or name.",
    "modules.cancel_unknown": Text(
        "No fine-tune {name!r} has a run on this host.", "There are runs of {known:join|, | and }."
    ),
    "modules.cancel_none": "No fine-tune {name!r} has a run on this host, and there are no others.",
    "modules.nothing_to_do": "There is nothing to do: give finetunes, or the run to follow.",
    "modules.go_missing": Text(
        "Building Ollama {version} needs Go 1.21 or newer, which is not on this host.",
        "Install Go, or use the archive.",
    ),
    "modules.headers_missing": Text(
        "{directory} does not exist.",
        "Install the component headers with the module toolchain first.",
    ),
    "modules.run_cancelled": "{name}: cancelled.",
    "modules.apply_again": "Apply again to resume: a training resumes from its last checkpoint if it has written one.",
    "modules.run_failed": "{name}: {step}: {problem}",
    "modules.hint_of": "{problem.hint}",
    "modules.log": "Log: {log}",
    "modules.log_line": "Log: {log}, line {line}",
    "modules.runs_failed": Text("{failures:join| }", "{hints:join| }"),
    "modules.nodes_unreachable": Text("{problems:join| }", "{first.hint}"),
    "modules.llama_server_missing": Text(
        "{path} is not installed.",
        "Install the component llama_server with the module toolchain first, with the same pins.",
    ),
    "modules.build_option_missing": "Building Ollama {version} needs the option {option}.",
    "modules.mcp_url_invalid": Text(
        "{url!r} is no URL of an MCP server.",
        "Write http://HOST:PORT/PATH. A token belongs into token_file, not into the URL.",
    ),
    "modules.mcp_unreachable": Text(
        "The MCP server at {url} does not answer: {reason}.", "Start it, or correct mcp. The file was not changed."
    ),
    "modules.mcp_certificate": Text(
        "The certificate of the MCP server at {url} is not trusted: {reason}.",
        "Add its authority to the certificates of the control machine. The file was not changed.",
    ),
    "modules.no_mcp": Text(
        "{url} is no MCP server over streamable HTTP: {reason}.",
        "Give the URL of its endpoint, which often ends with /mcp. The file was not changed.",
    ),
    "modules.mcp_error": Text(
        "The MCP server at {url} answers {method} with an error: {reason}.", "The file was not changed."
    ),
    "modules.mcp_not_allowed": Text(
        "The MCP server at {url} does not allow it (HTTP status {status}).",
        "Name a file with a valid token in token_file. The file was not changed.",
    ),
    "modules.mcp_redirects": Text(
        "The MCP server at {url} redirects to another server, {location!r}.", "Write that URL in mcp if it is right."
    ),
    "modules.mcp_without_tools": Text("The MCP server at {url} has no tools.", "The file was not changed."),
    "modules.tools_file_missing": Text(
        "There is no file {src!r} with the tools {name}.", "Write it, or declare mcp and fetch it."
    ),
    "modules.tools_not_fetched": Text(
        "There is no file {src!r} with the tools {name}.",
        "Fetch it: ansible-playbook playbooks/tools.yml -e finetune_tools_refresh={name}",
    ),
    "modules.tools_without_mcp": Text("The tools {name} have no live source.", "Declare its URL as mcp."),
    "modules.tools_encrypted": Text(
        "{src} is encrypted with Ansible Vault, and would be replaced by plain text.", "Decrypt or move it first."
    ),
    "modules.tools_differ": Text(
        "The tools {name} of {url} differ from {src}, which is what trainings use: {parts!s:join|; }.",
        "To take them over: ansible-playbook playbooks/tools.yml -e finetune_tools_refresh={name}",
    ),
    "modules.tools_not_compared": Text(
        "The tools {name} were not compared with their live source: {problem}", "{problem.hint}"
    ),
    "modules.tools_left_out": (
        "{count} parts of the tools {name} of {url} are left out, because no server of models receives them, "
        "for example {examples:join|; }."
    ),
    "modules.models_not_checked": Text(
        "The models are not checked: Ollama is stopped for the training {training}.",
        "It runs again when that has ended.",
    ),
}
