# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base model as a training in 32 bits has to see it.

LLaMA-Factory loads weights in the type that their ``config.json`` names (``torch_dtype="auto"`` in its ``load_model``)
and has no argument to load them in another one. Nearly all published weights are bfloat16, and a processor without
instructions for it takes about a hundred times as long for a product of matrices. So such a training is given a
directory with links to the same files, and a ``config.json`` that names float32.
"""

from __future__ import annotations

import os
import typing as t

from ..system.files import read_json, write_json

_CONFIG = "config.json"
_KEYS = ("dtype", "torch_dtype")  # transformers 5, and before
_WIDE = "float32"


def in_float32(base: str, directory: str) -> str:
    """A base model that is loaded in 32 bits.

    :param base: directory of the base model.
    :param directory: where the links are put, if they are needed; what is there goes.
    :returns: ``directory``, or ``base`` where that says float32 itself.
    """
    config = read_json(os.path.join(base, _CONFIG))
    if not isinstance(config, dict) or _is_wide(config):
        return base
    os.makedirs(directory, exist_ok=True)
    for name in os.listdir(directory):
        os.unlink(os.path.join(directory, name))
    for name in os.listdir(base):
        if name != _CONFIG:
            os.symlink(os.path.join(os.path.abspath(base), name), os.path.join(directory, name))
    write_json(os.path.join(directory, _CONFIG), _widened(config))
    return directory


def _is_wide(config: t.Mapping[str, t.Any]) -> bool:
    return all(part.get("dtype", part.get("torch_dtype")) == _WIDE for part in _parts(config))


def _parts(config: t.Mapping[str, t.Any]) -> list[t.Mapping[str, t.Any]]:
    """The configuration, and those of its parts (text, vision) that name a type of their own."""
    inner = [value for value in config.values() if isinstance(value, dict)]
    return [config, *(part for part in inner if any(key in part for key in _KEYS))]


def _widened(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    parts = _parts(config)
    changed: dict[str, t.Any] = {key: _WIDE for key in _KEYS if key in config} or {_KEYS[0]: _WIDE}
    for name, value in config.items():
        if isinstance(value, dict) and any(value is part for part in parts):
            changed[name] = {**value, **{key: _WIDE for key in _KEYS if key in value}}
    return {**config, **changed}
