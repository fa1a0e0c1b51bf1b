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
    "modules.files_not_transferred": Text(
        "The files of the controller were not transferred.",
        "Call the module by its full name.",
    ),
    "modules.program_missing": Text("{program} is not on this host.", "Install Docker Engine first."),
    "modules.configuration_refused": Text(
        "The engine does not take the new {path}: {reason}",
        "The file was not changed. Correct the declared settings or the existing content of the file.",
    ),
    "modules.step_unknown": Text("There is no kind of step {kind!r}.", "The kinds are {known}."),
    "modules.cancel_what": "Say which run to cancel: give run or name.",
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
    "modules.apply_again": "Apply again to resume from its checkpoint.",
    "modules.run_failed": "{name}: {step}: {problem}",
    "modules.hint_of": "{problem.hint}",
    "modules.log": "Log: {log}",
    "modules.runs_failed": Text("{failures:join| }", "{hints:join| }"),
    "modules.nodes_unreachable": Text("{problems:join| }", "{first.hint}"),
    "modules.llama_server_missing": Text(
        "{path} is not installed.",
        "Install the component llama_server with the module toolchain first, with the same pins.",
    ),
    "modules.build_option_missing": "Building Ollama {version} needs the option {option}.",
    "modules.models_not_checked": Text(
        "The models are not checked: Ollama is stopped for the training {training}.",
        "It runs again when that has ended.",
    ),
}
