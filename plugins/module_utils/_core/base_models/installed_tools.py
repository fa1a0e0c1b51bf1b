# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the installed tools know about architectures, read from their source without running it.

transformers (in LLaMA-Factory's environment) has tables of the architectures it loads, llama.cpp's converter one of
those it converts, and hashes of the pre-tokenizers it knows.
"""

from __future__ import annotations

import ast
import dataclasses
import glob
import os
import re
import typing as t

#: The classes that LLaMA-Factory loads a model with (``model/loader.py``), by their tables in transformers.
_TABLES = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING_NAMES",
)
_MODELING_AUTO = os.path.join("lib", "python3.*", "site-packages", "transformers", "models", "auto", "modeling_auto.py")
_ATTENTION = os.path.join("lib", "python3.*", "site-packages", "llamafactory", "model", "model_utils", "attention.py")
_KERNELS = os.path.join("lib", "python3.*", "site-packages", "transformers", "integrations", "hub_kernels.py")
#: In LLaMA-Factory's choice of an attention: an architecture, and the function of transformers that loads its own one.
_LOADED_ATTENTION = re.compile(
    r'"model_type", None\) == "(\w+)":\s+from transformers\.integrations\.hub_kernels import (\w+)$', re.MULTILINE
)
_PRE_TOKENIZER = re.compile(r'chkhsh == "([0-9a-f]{64})"')


@dataclasses.dataclass(frozen=True)
class InstalledTools:
    """Architectures that the installed tools know.

    :param trained: ``model_type`` of those that LLaMA-Factory loads; None if its tables cannot be read.
    :param converted: names of those that the converter converts; None if its table cannot be read.
    :param text: the text whose tokens identify a pre-tokenizer; empty if it cannot be read.
    :param pre_tokenizers: SHA-256 of the tokens of that text, of all pre-tokenizers that the converter knows.
    :param without_attention: ``model_type`` of those that LLaMA-Factory trains only with an attention of the hub, which
        the installed transformers cannot load: it lacks the function that is called for it.
    """

    trained: frozenset[str] | None
    converted: frozenset[str] | None
    text: str = ""
    pre_tokenizers: frozenset[str] = frozenset()
    without_attention: frozenset[str] = frozenset()


def stamp(llamafactory_venv: str, llama_cpp_dir: str) -> list[t.Any]:
    """Return what changes when another version of the tools is installed: paths, sizes and times of the files read."""
    found: list[t.Any] = []
    for path in _files(llamafactory_venv, llama_cpp_dir):
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.append([path, status.st_size, status.st_mtime_ns])
    return found


def read_tools(llamafactory_venv: str, llama_cpp_dir: str) -> InstalledTools:
    """Read the tables of the installed tools; a part that is not there or has another form is unknown."""
    modeling, attention, kernels, conversion, base = _files(llamafactory_venv, llama_cpp_dir)
    tables = _assigned(modeling)
    trained = frozenset(
        str(pair[0])
        for name in _TABLES
        for pair in tables.get(name) or ()
        if isinstance(pair, tuple) and len(pair) == 2
    )
    converted = _assigned(conversion).get("TEXT_MODEL_MAP")
    source = _text(base)
    return InstalledTools(
        trained or None,
        frozenset(converted) if isinstance(converted, dict) else None,
        _checked_text(source),
        frozenset(_PRE_TOKENIZER.findall(source)),
        _without_attention(_text(attention), _text(kernels)),
    )


def _without_attention(attention: str, kernels: str) -> frozenset[str]:
    if not kernels:
        return frozenset()
    return frozenset(
        model_type
        for model_type, function in _LOADED_ATTENTION.findall(attention)
        if not re.search(rf"\b{function}\b", kernels)
    )


def _files(llamafactory_venv: str, llama_cpp_dir: str) -> tuple[str, str, str, str, str]:
    def installed(pattern: str) -> str:
        found = sorted(glob.glob(os.path.join(llamafactory_venv, pattern))) if llamafactory_venv else []
        return found[-1] if found else ""

    conversion = os.path.join(llama_cpp_dir, "conversion") if llama_cpp_dir else ""
    return (
        installed(_MODELING_AUTO),
        installed(_ATTENTION),
        installed(_KERNELS),
        os.path.join(conversion, "__init__.py") if conversion else "",
        os.path.join(conversion, "base.py") if conversion else "",
    )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, ValueError):
        return ""


def _assigned(path: str) -> dict[str, t.Any]:
    """Return the literals that a Python file assigns to names at its top; ``OrderedDict([…])`` is its list."""
    try:
        tree = ast.parse(_text(path))
    except SyntaxError:
        return {}
    found = {}
    for node in tree.body:
        target = (
            node.targets[0]
            if isinstance(node, ast.Assign)
            else node.target
            if isinstance(node, ast.AnnAssign)
            else None
        )
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        if isinstance(value, ast.Call) and value.args:
            value = value.args[0]
        if isinstance(target, ast.Name) and value is not None:
            try:
                found[target.id] = ast.literal_eval(value)
            except ValueError:
                continue
    return found


def _checked_text(source: str) -> str:
    match = re.search(r"^\s*chktxt = (['\"].*['\"])$", source, re.MULTILINE)
    try:
        return str(ast.literal_eval(match.group(1))) if match else ""
    except (SyntaxError, ValueError):
        return ""
