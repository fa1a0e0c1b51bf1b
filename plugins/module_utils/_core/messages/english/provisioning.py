# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the provisioning modules."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "provisioning.program_replaceable": Text(
        "{program} can be replaced by {user}, and root would execute it.",
        "Run the play as that user, or install the program below a directory of root.",
    ),
    "provisioning.file_not_utf8": Text(
        "{path} is not UTF-8 text (byte {byte}).",
        "It was left as it is. Put it right by hand (dockerd --validate --config-file {path} says what it "
        "takes; it takes no comments), or move it away, and run again.",
    ),
    "provisioning.file_invalid_json": Text(
        "{path} is not valid JSON: {reason} at line {line}, column {column}.",
        "It was left as it is. Put it right by hand (dockerd --validate --config-file {path} says what it "
        "takes; it takes no comments), or move it away, and run again.",
    ),
    "provisioning.file_not_understood": Text(
        "{path} cannot be understood: {reason}.",
        "It was left as it is. Put it right by hand (dockerd --validate --config-file {path} says what it "
        "takes; it takes no comments), or move it away, and run again.",
    ),
    "provisioning.file_no_json_object": Text(
        "{path} holds no JSON object.",
        "It was left as it is. Put it right by hand (dockerd --validate --config-file {path} says what it "
        "takes; it takes no comments), or move it away, and run again.",
    ),
    "provisioning.no_package_record": Text(
        "{path} is not a record of installed packages.",
        "Remove it: then no package is taken for installed by the role, and none is removed.",
    ),
    "provisioning.apt_sources_conflict": (
        "{one} and {two} both name {uri}, with different values of Signed-By, so apt reads no source at all. Remove "
        "one of the two."
    ),
    "provisioning.apt_source_partial": (
        "{source} names {uri} without the packages of this system: its type is not deb, or it lacks a component or "
        "this architecture. A second source could keep apt from reading any source. Correct that one, or remove it."
    ),
    "provisioning.apt_source_taken": (
        "{path} was not written by this collection, and has no enabled source of {uri}. Enable the source in it, or "
        "remove the file."
    ),
    "provisioning.no_settings_record": Text(
        "{path} is not a record of changed settings.",
        "Remove it: then the settings of daemon.json that this collection has changed stay as they are.",
    ),
    "provisioning.runtime_without_path": "the runtime {runtime} needs either a path or a runtimeType",
    "provisioning.default_runtime_missing": "default-runtime is {runtime}, and runtimes has no {runtime}",
    "provisioning.no_venv": "No Python on this host can make a virtual environment.",
    "provisioning.no_compiler": "{programs:join| and } are compiled, which needs a C++ compiler.",
    "provisioning.python_unusable": "The declared Python, {python}, is not a 64-bit CPython that runs.",
    "provisioning.python_unsupported": (
        "The declared Python, {python}, has version {version}; LLaMA-Factory runs on {supported:join|, | or }."
    ),
    "provisioning.no_python": (
        "LLaMA-Factory needs Python {supported:join|, | or }, and this host ({system}) has none of them."
    ),
    "provisioning.no_python_package": (
        "LLaMA-Factory needs Python {supported:join|, | or }, and this host ({system}) has none of them. "
        "Let uv install one (python_from: uv), or declare the path of one (python)."
    ),
    "provisioning.no_lock_files": Text(
        "{directory} does not exist.",
        "It must contain the lock files (requirements-*).",
    ),
    "provisioning.no_llama_cpp": "{archive} does not contain llama.cpp.",
    "provisioning.program_does_not_run": Text("{program} was built but does not print its usage.", "The log is {log}."),
    "provisioning.archive_not_downloaded": Text(
        "{url} cannot be downloaded: {reason}.",
        "Make the archive reachable, or build Ollama from source.",
    ),
    "provisioning.archive_digest": Text(
        "{url} has the sha256 {digest}, and {expected} is expected.",
        "Correct the declared archive. A file that was replaced on the way must not be installed.",
    ),
    "provisioning.archive_not_unpacked": Text("{url} cannot be unpacked: {reason}.", "The log is {log}."),
    "provisioning.archive_not_decompressed": Text("{url} cannot be decompressed.", "The log is {log}."),
    "provisioning.ollama_version": "The installed ollama is not version {version}: {answer}",
    "provisioning.ollama_port_taken": Text(
        "Another program listens at port {port}.",
        "End it, or choose another port (ollama_port of the role).",
    ),
    "provisioning.directory_not_writable": Text(
        "{path} cannot be written: {reason}.",
        "Run as the user that it belongs to.",
    ),
    "provisioning.server_ended": "The server ended at its start; the end of {log}:\n{log_tail}",
    "provisioning.server_silent": (
        "The server runs but did not answer at {url} within {seconds:g} s; the end of {log}:\n{log_tail}"
    ),
    "provisioning.packages_not_listed": Text("The new environment cannot list its packages.", "The log is {log}."),
    "provisioning.file_failed": Text("{path}: {reason}.", "The log is {log}."),
    "provisioning.tools_not_writable": Text(
        "{directory} cannot be written: {reason} ({path}).",
        "Choose another directory for the tools, or run as a user who can write there.",
    ),
    "provisioning.program_not_started": "{purpose}: {program} does not start: {reason}.",
    "provisioning.program_failed": "{purpose} failed (exit {status}); the log is {log}\n{tail}",
    "provisioning.no_room": Text(
        "{directory} has {free:.1f} GiB free and about {needed} GiB are needed.",
        "Make room, or move the tools to a larger disk (llamafactory_tools_dir of the role).",
    ),
    "provisioning.unsafe_path": Text(
        "{path} can be changed by users other than root, and root would run programs from it.",
        "Run as the user who owns it, or hand it to root: chown -R root: {path} && chmod -R go-w {path}",
    ),
    "provisioning.not_buildable": Text("{reasons:join| }", "{advice}"),
    "provisioning.no_program": Text("{program} is not a program.", "Install Ollama first."),
    "provisioning.empty_path": "The empty path",
    "provisioning.ollama_not_buildable": Text(
        "Ollama {version} cannot be built from source: the pinned llama.cpp is too new for it. Versions "
        "before 0.30.0, and from 0.32.6 on, can be built.",
        "Use the archive, or another version.",
    ),
    "provisioning.no_ollama_version": Text("{version!r} is not a version of Ollama.", "It looks like 0.32.15."),
}
