# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``ollama``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "ollama.name_invalid": Text(
        "{name!r} cannot be the name of a model in Ollama.",
        "Model and tag: 1 to 80 letters, digits, '_', '-' and '.', the first a letter, a digit or '_'.",
    ),
    "ollama.tag_reserved": Text(
        "{name!r} cannot be used: Ollama reads the tag {tag!r} as where the model runs.",
        "Choose another tag.",
    ),
    "ollama.parameter_no_list": "The parameter {name} must be a list of texts, not {value!r}.",
    "ollama.parameter_no_boolean": "The parameter {name} must be true or false, not {value!r}.",
    "ollama.no_parameter": Text("Ollama has no parameter {name!r}.", "{suggestion}"),
    "ollama.known_parameters": "It has: {names}.",
    "ollama.parameter_no_number": "The parameter {name} must be a number, not {value!r}.",
    "ollama.parameter_no_integer": "The parameter {name} must be a whole number, not {value!r}.",
    "ollama.url_invalid": Text("The URL of the Ollama server is not valid.", "It looks like {example}."),
    "ollama.file_truncated": Text("The file became shorter while it was sent.", "Something else writes to it."),
    "ollama.create_ended": Text(
        "Ollama at {url} ended without having created {model}: {report}.",
        "It was stopped or ran out of memory or disk: look at its log and run again.",
    ),
    "ollama.no_rendering": Text("Ollama at {url} does not report how it renders a prompt.", "Version 0.24 does."),
    "ollama.no_json": Text(
        "{url} gave no JSON when asked to {action}.",
        "Is it an Ollama server? The answer may also have been cut off: look at its log and run again.",
    ),
    "ollama.refused": Text("Ollama at {url} could not {action}: {reason}.", "{advice}"),
    "ollama.last_status": "its last status was {status!r}",
    "ollama.no_status": "it sent no status",
    "ollama.no_server": Text(
        "No Ollama server answers at {url}.",
        "Start it ('systemctl start ollama', or 'ollama serve'), or say where the one that runs is.",
    ),
    "ollama.host_unknown": Text("{url} cannot be found: {reason}.", "Look at the name of the host, and at its DNS."),
    "ollama.silent": Text(
        "Ollama at {url} sent nothing for {seconds:g} seconds when asked to {action}.",
        "It may be loading a model, or its disk be slow or full: look at its log, or allow it more time.",
    ),
    "ollama.connection_ended": Text(
        "Ollama at {url} ended the connection when asked to {action}.",
        "Look at its log and run again: what it has already is not sent a second time.",
    ),
    "ollama.no_http": Text("{url} does not speak HTTP as Ollama does ({error}).", "Is it an Ollama server?"),
    "ollama.unreachable": Text(
        "{url} cannot be reached: {reason}.",
        "Look at its log and run again: what it has already is not sent a second time.",
    ),
    "ollama.disk_full": "The disk that holds Ollama's models is full: make room there and run again.",
    "ollama.digest_mismatch": "The file is not what its receipt says: something changed it. Make it again.",
    "ollama.see_list": "'ollama list' shows what there is.",
    "ollama.free_memory": "Free some (another model may be loaded), or use a smaller quantization.",
    "ollama.gguf_damaged": "The GGUF file is damaged or no model: make it again.",
    "ollama.credentials": "The server, or a proxy before it, asks for credentials.",
    "ollama.see_log": "Its log says more.",
    "ollama.version_unknown": (
        "Ollama at {url} reports the version {version!r}, which is unknown: {minimum} or newer is needed."
    ),
    "ollama.version_too_old_for_base": Text(
        "Ollama at {url} has version {version}, which does not run models of the architecture {architecture}: "
        "{minimum} or newer is needed.",
        "Upgrade it (the role ollama does it for a server that it runs), give the URL of another one, or choose "
        "another base model.",
    ),
    "ollama.version_too_old": Text(
        "Ollama at {url} has version {version}, which is too old: {minimum} or newer is needed.",
        "Upgrade it (the role ollama does it for a server that it runs), or give the URL of another one.",
    ),
}
