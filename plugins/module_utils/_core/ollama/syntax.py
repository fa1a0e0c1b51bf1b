# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's syntax: names of models, parameters, Modelfiles. Pure functions.

Sources, as of 0.24: ``types/model/name.go``, ``internal/modelref``, ``api/types.go`` (Options), ``parser/parser.go``.
"""

from __future__ import annotations

import difflib
import re
import typing as t

from ..errors import InputError
from ..messages.message import Message
from ..messages.suggestions import did_you_mean
from ..system.ports import OLLAMA_PORT

#: URL of the server of this host, unless another is configured.
DEFAULT_URL = f"http://127.0.0.1:{OLLAMA_PORT}"

_USER_INFO = re.compile(r"((?:https?://)?)([^/?#]*)@")

#: Parameters a model can have, and their types.
PARAMETERS: dict[str, type] = {
    "num_keep": int,
    "seed": int,
    "num_predict": int,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "typical_p": float,
    "repeat_last_n": int,
    "temperature": float,
    "repeat_penalty": float,
    "presence_penalty": float,
    "frequency_penalty": float,
    "stop": list,
    "num_ctx": int,
    "num_batch": int,
    "num_gpu": int,
    "main_gpu": int,
    "use_mmap": bool,
    "num_thread": int,
}

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}\Z")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}\Z")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}\Z")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def split_credentials(url: str) -> tuple[str, str]:
    """Split the address of a server: without user and password, and these as they are written in it; or empty."""
    match = _USER_INFO.match(url)
    return (match[1] + url[match.end() :], match[2]) if match else (url, "")


def with_credentials(url: str, credentials: str) -> str:
    """Return the address of a server with user and password, as :func:`split_credentials` has split it."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{credentials}@{rest}" if credentials else url


def with_scheme(address: str, port: int = OLLAMA_PORT) -> str:
    """Return the address of a server as a URL: ``HOST`` and ``HOST:PORT`` stand for HTTP; empty stays empty.

    :param port: the port of ``HOST``.
    """
    if not address or "://" in address:
        return address
    server, slash, path = address.partition("/")
    has_port = re.search(r":\d*\Z", server.rpartition("@")[2].rpartition("]")[2])
    return f"http://{server}{'' if has_port else f':{port}'}{slash}{path}"


def split_name(name: str) -> tuple[str, str, str, str]:
    """Host, namespace, model and tag of a model's name; omitted parts get Ollama's defaults."""
    tag = ""
    if name.rfind(":") > name.rfind("/"):
        name, _colon, tag = name.rpartition(":")
    parts = name.rsplit("/", 2)
    model = parts[-1]
    namespace = parts[-2] if len(parts) > 1 else "library"
    host = parts[-3].rpartition("://")[2] if len(parts) > 2 else "registry.ollama.ai"
    return host, namespace, model, tag or "latest"


def check_name(name: str) -> str:
    """The name, if Ollama accepts it for creating and running a model.

    :raises InputError: with the rule that the name violates.
    """
    host, namespace, model, tag = split_name(name)
    rules = ((host, _HOST), (namespace, _NAMESPACE), (model, _PART), (tag, _PART))
    if name.endswith(":") or not all(pattern.match(part) for part, pattern in rules):
        raise InputError("ollama.name_invalid", name=name, details={"name": name})
    lowercase_tag = tag.lower()
    if lowercase_tag in ("cloud", "local") or lowercase_tag.endswith("-cloud"):
        raise InputError("ollama.tag_reserved", name=name, tag=tag)
    return name


def full_name(name: str) -> str:
    """The canonical form of a model's name, used to compare two names (Ollama ignores case)."""
    host, namespace, model, tag = split_name(name)
    return f"{host}/{namespace}/{model}:{tag}".lower()


def same_name(one: str, other: str) -> bool:
    """Whether two names refer to the same model in Ollama."""
    return full_name(one) == full_name(other)


def same_model(one: str, other: str) -> bool:
    """Whether two names differ at most in the tag."""
    return full_name(one).rpartition(":")[0] == full_name(other).rpartition(":")[0]


def check_parameters(parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The parameters converted to their types; ``stop`` is always a list.

    Ollama accepts any value here and fails only at the first request to the model.

    :raises InputError: if Ollama has no such parameter, or a value has the wrong type.
    """
    checked: dict[str, t.Any] = {}
    for name, value in parameters.items():
        value_type = PARAMETERS.get(name)
        if value_type is None:
            suggestions = difflib.get_close_matches(name, PARAMETERS, 1, 0.6)
            hint = did_you_mean(suggestions) or Message("ollama.known_parameters", names=sorted(PARAMETERS))
            raise InputError("ollama.no_parameter", name=name, suggestion=hint)
        checked[name] = _typed(name, value, value_type)
    return checked


def _typed(name: str, value: t.Any, value_type: type) -> t.Any:
    if value_type is list:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, (list, tuple)) and all(isinstance(item, str) and item for item in items):
            return list(items)
        raise InputError("ollama.parameter_no_list", name=name, value=value)
    if value_type is bool:
        if isinstance(value, bool):
            return value
        raise InputError("ollama.parameter_no_boolean", name=name, value=value)
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
        if value_type is float and abs(number) < float("inf"):
            return number
        if value_type is int and number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    code = "ollama.parameter_no_number" if value_type is float else "ollama.parameter_no_integer"
    raise InputError(code, name=name, value=value)


def parse_parameters(text: str) -> dict[str, t.Any]:
    """The parameters in the reply of ``/api/show``: one per line, in random order, values in Go syntax."""
    parameters: dict[str, t.Any] = {}
    for line in text.splitlines():
        name, _blank, raw = line.partition(" ")
        if name:
            value = _go_value(raw.strip())
            if PARAMETERS.get(name) is list:
                parameters.setdefault(name, []).append(value)
            else:
                parameters[name] = value
    return parameters


def same_parameters(one: t.Mapping[str, t.Any], other: t.Mapping[str, t.Any]) -> bool:
    """Whether two sets of parameters are equivalent; the order of stops and the notation of numbers are ignored."""
    return _normalized(one) == _normalized(other)


def _normalized(parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: sorted(value) if isinstance(value, list) else value for key, value in parameters.items()}


def _go_value(raw: str) -> t.Any:
    if raw[:1] == '"':
        return re.sub(
            r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)",
            lambda match: chr(int(match[1][1:], 16)) if len(match[1]) > 1 else _ESCAPES.get(match[1], match[1]),
            raw[1:-1],
        )
    if raw in ("true", "false"):
        return raw == "true"
    try:
        return float(raw)
    except ValueError:
        return raw


def modelfile_blobs(text: str) -> dict[str, list[str]]:
    """The blobs of a model by command (``FROM``, ``ADAPTER``), from the Modelfile that ``/api/show`` returns.

    :returns: digests as ``sha256:…``, sorted; a command without blobs is omitted.
    """
    blobs: dict[str, list[str]] = {}
    for command, digest in re.findall(r"^(FROM|ADAPTER) \S*sha256[-:]([0-9a-f]{64})\s*$", text, re.MULTILINE):
        blobs.setdefault(command, []).append(f"sha256:{digest}")
    return {command: sorted(digests) for command, digests in blobs.items()}


def models_directory(text: str) -> str:
    """The directory where a server stores its models, from the Modelfile of one of them; empty if it has no path."""
    match = re.search(r"^FROM (/\S*)/blobs/sha256-[0-9a-f]{64}\s*$", text, re.MULTILINE)
    return match.group(1) if match else ""


def modelfile(
    from_: str,
    template: str,
    system: str,
    parameters: t.Mapping[str, t.Any],
    adapter: str = "",
    parser: str = "",
    projector: str = "",
) -> str:
    """A Modelfile that creates the model again with ``ollama create``.

    It is for people: models are registered over the API, which accepts any text. A Modelfile does not: its parser
    drops unprintable characters, including the no-break space used in French, and has no escape for three
    consecutive quotes. Values it cannot express are mentioned in a comment.

    :param from_: file or model to create it from.
    :param adapter: adapter file to apply; empty for none.
    :param parser: Ollama's parser for the answers; empty for its default.
    :param projector: file of the image encoder; empty for none.
    """
    files = (("FROM", from_), ("FROM", projector), ("ADAPTER", adapter))
    lines = [f"{command} {file}" for command, file in files if file]
    for command, value in (("TEMPLATE", template), ("SYSTEM", system)):
        if value:
            lines += ["", _command(command, value)]
    if parser:
        lines += ["", f"PARSER {parser}"]
    lines.append("")
    for name, value in sorted(parameters.items()):
        lines += [_command(f"PARAMETER {name}", item) for item in (value if isinstance(value, list) else [value])]
    return "\n".join(lines).rstrip("\n") + "\n"


def _command(command: str, value: t.Any) -> str:
    if isinstance(value, bool):
        return f"{command} {str(value).lower()}"
    if not isinstance(value, str):
        return f"{command} {value}"
    if '"""' in value or '"' in (value[:1], value[-1:]):
        return f"# {command} cannot be written here because of its quotes: see receipt.json."
    return f'{command} """{value}"""'
