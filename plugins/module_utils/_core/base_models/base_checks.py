# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a base model's small files, before its weights are fetched and before anything is trained.

Each check runs once for a base, a template and the installed tools; the result is kept in ``cache/base_checks/`` of the
data directory. The files of a hub model are fetched for it (configuration, tokenizer, chat template) and removed
afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import typing as t

from ..artifacts.layout import Layout
from ..chat_formats import probes, training_text
from ..chat_formats.facts import facts_of
from ..errors import InputError, RemoteError
from ..fingerprint import digest
from ..json_text import parse_json
from ..messages.message import Message
from ..programs import inspect_tokenizer
from ..runs.spec import Toolchain
from ..system.environment import clean_environment
from ..system.files import make_dirs, read_json, remove_tree, write_json
from ..system.locks import FileLock
from .hub_client import HubClient, read_token
from .installed_tools import InstalledTools, read_tools, stamp
from .model_files import chat_template_of, special_tokens
from .resolution import BaseIdentity

#: Raised when a check changes: results of earlier ones are not used then.
_VERSION = 1
_SECONDS = 120
#: Directory of the files that are fetched for a check, beside the results.
_SCRATCH = ".files"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_SMALL_FILES = (
    *("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
    *_TOKENIZERS,
    *_PROCESSORS,
    *_CHAT_TEMPLATES,
)
#: Quantized weights that LLaMA-Factory turns into 16 bits when it loads them (``model_utils/quantization.py``).
_DEQUANTIZED = ("mxfp4", "fp8")
#: Characters that a message shows of a difference.
_SHOWN = 50


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is checked.

    :param base: the resolved base model.
    :param template: LLaMA-Factory's chat template of the training.
    :param converted: whether the result is converted to GGUF.
    :param remote_code: whether the training runs code of the model (``trust_remote_code``).
    """

    base: BaseIdentity
    template: str
    converted: bool
    remote_code: bool


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of the checks.

    :param problem: why the base cannot be trained so; None if it can, as far as is known.
    :param notes: what else a user should know.
    :param unchecked: why nothing was checked; None if it was.
    """

    problem: Message | None = None
    notes: tuple[Message, ...] = ()
    unchecked: Message | None = None


def check(layout: Layout, subject: Subject, toolchain: Toolchain, write: bool) -> Result:
    """Check the small files of a base, or return the result of an earlier check.

    :param write: whether a check may run: False computes, fetches and writes nothing.
    :raises CoreError: if the files of a hub model cannot be fetched.
    """
    venv = toolchain.llamafactory_venv
    if not venv or not os.path.exists(os.path.join(venv, "bin", "python")):
        return Result(unchecked=Message("base_models.tools_missing"))
    directory = layout.path("cache", "base_checks")
    path = os.path.join(directory, f"{_key(subject, toolchain)}.json")
    found = _stored(path)
    if found is not None:
        return found
    if not write:
        return Result(unchecked=Message("base_models.checked_when_applied"))
    make_dirs(directory)
    scratch = os.path.join(directory, _SCRATCH)
    with FileLock(os.path.join(directory, ".lock")):
        found = _stored(path)  # another process may have checked it in the meantime
        if found is not None:
            return found
        remove_tree(scratch)  # of a process that was killed
        os.mkdir(scratch)
        try:
            root = _small_files(layout, subject.base, toolchain, scratch)
            result = _check(root, scratch, subject, toolchain, read_tools(venv, toolchain.llama_cpp_dir))
        except RemoteError:
            return Result(unchecked=Message("base_models.hub_silent"))
        finally:
            remove_tree(scratch)
        write_json(path, _as_stored(result))
    return result


def _key(subject: Subject, toolchain: Toolchain) -> str:
    tools = stamp(toolchain.llamafactory_venv, toolchain.llama_cpp_dir)
    facts = [_VERSION, subject.base.fingerprint, subject.template, subject.converted, subject.remote_code]
    return digest([*facts, tools])


def _as_stored(result: Result) -> dict[str, t.Any]:
    problem = result.problem.as_dict() if result.problem else None
    return {"problem": problem, "notes": [note.as_dict() for note in result.notes]}


def _stored(path: str) -> Result | None:
    stored = read_json(path)
    if not isinstance(stored, dict):
        return None
    problem = Message.from_stored(stored["problem"]) if stored.get("problem") else None
    return Result(problem, tuple(Message.from_stored(note) for note in stored.get("notes") or ()))


def _small_files(layout: Layout, base: BaseIdentity, toolchain: Toolchain, scratch: str) -> str:
    """Return a directory with the small files of a base: its own, or ``scratch``, to which they are fetched."""
    if base.location:
        return base.location
    fetched = layout.artifact("base", base.fingerprint)
    if os.path.exists(os.path.join(fetched, "config.json")):
        return fetched
    client = HubClient(os.environ, read_token(toolchain.token_file))
    hub_id, commit = base.settings["hub"], base.settings["commit"]
    offered = {str(entry.get("rfilename")) for entry in client.model_info(hub_id, commit)["siblings"]}
    for name in _SMALL_FILES:
        content = client.read(hub_id, commit, name) if name in offered else None
        if content is not None:
            with open(os.path.join(scratch, name), "wb") as stream:
                stream.write(content)
    return scratch


def _check(root: str, scratch: str, subject: Subject, toolchain: Toolchain, tools: InstalledTools) -> Result:
    config = read_json(os.path.join(root, "config.json")) or {}
    problem = _quantized(config) or _architecture(config, subject, tools) or _files_missing(root, subject)
    if problem is not None:
        return Result(problem)
    answer = _inspect(root, subject, toolchain, tools)
    if answer is None:
        return Result(notes=(Message("base_models.tokenizer_not_inspected"),))
    needed, _further = training_text.markers(facts_of(subject.template))
    missing = [token for token in answer["missing"] if token in needed]
    if missing:
        return Result(Message("base_models.tokens_missing", template=subject.template, tokens=missing))
    problem = _pre_tokenizer(root, scratch, answer, subject, toolchain, tools)
    if problem is not None:
        return Result(problem)
    notes = [_further_tokens(answer, subject), *_compare(root, answer, subject)]
    return Result(notes=tuple(note for note in notes if note is not None))


def _quantized(config: t.Mapping[str, t.Any]) -> Message | None:
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        return None
    method = str(quantization.get("quant_method") or "an unnamed method")
    return None if method in _DEQUANTIZED else Message("base_models.quantized_with", method=method)


def _architecture(config: t.Mapping[str, t.Any], subject: Subject, tools: InstalledTools) -> Message | None:
    model_type = str(config.get("model_type") or "")
    if (
        tools.trained is not None
        and model_type not in tools.trained
        and not (config.get("auto_map") and subject.remote_code)
    ):
        code = "base_models.architecture_needs_code" if config.get("auto_map") else "base_models.architecture_unknown"
        return Message(code, architecture=model_type)
    if model_type in tools.without_attention:
        return Message("base_models.architecture_without_attention", architecture=model_type)
    text = config.get("text_config")
    names = [
        *(config.get("architectures") or ()),
        *((text.get("architectures") or ()) if isinstance(text, dict) else ()),
    ]
    if subject.converted and tools.converted is not None and names and not tools.converted & set(map(str, names)):
        return Message("base_models.architecture_not_converted", architecture=str(names[0]))
    return None


def _files_missing(root: str, subject: Subject) -> Message | None:
    names = set(os.listdir(root))
    if not names.intersection(_TOKENIZERS) and not subject.remote_code:
        return Message("base_models.no_tokenizer", files=list(_TOKENIZERS))
    if facts_of(subject.template).multimodal and not names.intersection(_PROCESSORS):
        return Message("base_models.no_processor", template=subject.template, files=list(_PROCESSORS))
    return None


def _own_template(root: str) -> str:
    """The base's own chat template; empty if it has none."""
    try:
        with open(os.path.join(root, _CHAT_TEMPLATES[0]), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except FileNotFoundError:
        pass
    texts = (
        chat_template_of(read_json(os.path.join(root, name)) or {})
        for name in ("tokenizer_config.json", _CHAT_TEMPLATES[1])
    )
    return next((text for text in texts if text), "")


def _conversations() -> list[dict[str, t.Any]]:
    """What is rendered by both: a question, several ones with a system prompt, and a question with a tool."""
    question, answer, next_question = "Question ?", "Réponse.", "Et après ?"
    plain = [{"role": "user", "content": question}]
    more = [
        {"role": "system", "content": probes.SYSTEM},
        *plain,
        {"role": "assistant", "content": answer},
        {"role": "user", "content": next_question},
    ]
    return [
        {"name": "question", "messages": plain, "tools": []},
        {"name": "conversation", "messages": more, "tools": []},
        {"name": "tools", "messages": plain, "tools": [probes.WEATHER]},
    ]


def _inspect(root: str, subject: Subject, toolchain: Toolchain, tools: InstalledTools) -> dict[str, t.Any] | None:
    """Run the program in LLaMA-Factory's environment; None if it fails."""
    needed, further = training_text.markers(facts_of(subject.template))
    eos, bos = special_tokens(root)
    request = {
        "directory": root,
        "tokens": [*needed, *further],
        "chat_template": _own_template(root),
        "conversations": _conversations(),
        "eos": eos,
        "bos": bos,
        "text": tools.text if subject.converted else "",
    }
    loader: t.Any = getattr(inspect_tokenizer.__spec__, "loader", None)
    python = os.path.join(toolchain.llamafactory_venv, "bin", "python")
    try:
        completed = subprocess.run(
            [python, "-I", "-c", loader.get_source(inspect_tokenizer.__name__)],
            input=json.dumps(request).encode("ascii"),
            capture_output=True,
            timeout=_SECONDS,
            env=clean_environment(),
            check=False,
        )
        answer: dict[str, t.Any] = parse_json(completed.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return answer


def _pre_tokenizer(
    root: str,
    scratch: str,
    answer: t.Mapping[str, t.Any],
    subject: Subject,
    toolchain: Toolchain,
    tools: InstalledTools,
) -> Message | None:
    """Ask the converter about a pre-tokenizer that is not in its table: not every architecture needs one."""
    python = os.path.join(toolchain.converter_venv, "bin", "python")
    known = not answer["pre_tokenizer"] or answer["pre_tokenizer"] in tools.pre_tokenizers
    if known or not subject.converted or not tools.pre_tokenizers or not os.path.exists(python):
        return None
    files = os.path.join(scratch, "vocabulary")
    os.mkdir(files)
    for name in _SMALL_FILES:
        if os.path.exists(os.path.join(root, name)):
            shutil.copyfile(os.path.join(root, name), os.path.join(files, name))
    script = os.path.join(toolchain.llama_cpp_dir, "convert_hf_to_gguf.py")
    argv = [python, script, files, "--vocab-only", "--outfile", os.path.join(scratch, "vocabulary.gguf")]
    try:
        completed = subprocess.run(
            argv, capture_output=True, timeout=_SECONDS, env=clean_environment(), cwd=scratch, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    output = completed.stderr + completed.stdout
    if completed.returncode and b"pre-tokenizer was not recognized" in output:
        return Message("base_models.pre_tokenizer_unknown")
    return None


def _further_tokens(answer: t.Mapping[str, t.Any], subject: Subject) -> Message | None:
    missing = list(answer["missing"])
    return Message("base_models.stop_words_missing", template=subject.template, tokens=missing) if missing else None


def _compare(root: str, answer: t.Mapping[str, t.Any], subject: Subject) -> list[Message]:
    """Compare what the base's own chat template writes with the text of the training."""
    if not _own_template(root):
        return [Message("base_models.learns_chat", template=subject.template)]
    rendered = answer["rendered"]
    eos, bos = special_tokens(root)
    conversations = {each["name"]: each["messages"] for each in _conversations()}
    notes: list[Message] = []
    for name in ("question", "conversation"):
        if "text" not in rendered[name]:
            continue  # it refuses the conversation, such as one with a system prompt
        messages = conversations[name]
        system = "".join(message["content"] for message in messages if message["role"] == "system")
        turns = [message["content"] for message in messages if message["role"] != "system"]
        expected = training_text.prompt_text(subject.template, turns, system, eos, bos)
        if rendered[name]["text"] != expected:
            own, ours = _where_different(rendered[name]["text"], expected)
            notes.append(Message("base_models.chat_differs", template=subject.template, own=own, ours=ours))
            break
    plain, with_tools = (rendered[name].get("text", "") for name in ("question", "tools"))
    introduction = training_text.tools_introduction(facts_of(subject.template))
    knows_tools = bool(with_tools) and with_tools != plain and probes.WEATHER["function"]["name"] in with_tools
    if knows_tools and (not introduction or introduction in plain or introduction not in with_tools):
        notes.append(Message("base_models.tools_differ", template=subject.template))
    return notes


def _where_different(own: str, ours: str) -> tuple[str, str]:
    position = next((n for n, (a, b) in enumerate(zip(own, ours)) if a != b), min(len(own), len(ours)))
    line = own.rfind("\n", 0, position) + 1
    start = line if position - line <= 30 else position - 10  # whole markers, where the line is short
    return own[start : position + _SHOWN], ours[start : position + _SHOWN]


def require(result: Result, base: BaseIdentity) -> None:
    """Refuse a base that cannot be trained.

    :raises InputError: with the problem.
    """
    if result.problem is not None:
        raise InputError("base_models.cannot_be_trained", model=base.description, problem=result.problem)
