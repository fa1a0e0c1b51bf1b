# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provides a base model in float32 for trainings that compute in 32 bits.

LLaMA-Factory loads weights in the type named in their ``config.json`` (``torch_dtype="auto"`` in its ``load_model``)
and has no argument for another type. Nearly all published weights are bfloat16, and on a CPU without bfloat16
instructions a matrix product takes about a hundred times as long. Such a training therefore uses a directory with
links to the same files and a ``config.json`` that names float32.
"""

from __future__ import annotations

import os
import typing as t

from ..system.files import read_json, write_json

_CONFIG = "config.json"
_TYPE_KEYS = ("dtype", "torch_dtype")  # transformers 5, and earlier versions
_FLOAT32 = "float32"


def in_float32(base: str, directory: str) -> str:
    """Provide a directory from which the base model is loaded in float32.

    :param base: directory of the base model.
    :param directory: directory for the links, if they are needed; its content is deleted.
    :returns: ``directory``, or ``base`` when its configuration names float32 already (or cannot be read).
    """
    config = read_json(os.path.join(base, _CONFIG))
    if not isinstance(config, dict) or _is_float32(config):
        return base
    os.makedirs(directory, exist_ok=True)
    for name in os.listdir(directory):
        os.unlink(os.path.join(directory, name))
    for name in os.listdir(base):
        if name != _CONFIG:
            os.symlink(os.path.join(os.path.abspath(base), name), os.path.join(directory, name))
    write_json(os.path.join(directory, _CONFIG), _with_float32(config))
    return directory


def _is_float32(config: t.Mapping[str, t.Any]) -> bool:
    return all(part.get("dtype", part.get("torch_dtype")) == _FLOAT32 for part in _parts(config))


def _parts(config: t.Mapping[str, t.Any]) -> list[t.Mapping[str, t.Any]]:
    """The configuration and its sub-configurations (text, vision) that name a type themselves."""
    inner = [value for value in config.values() if isinstance(value, dict)]
    return [config, *(part for part in inner if any(key in part for key in _TYPE_KEYS))]


def _with_float32(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    parts = _parts(config)
    changed: dict[str, t.Any] = {key: _FLOAT32 for key in _TYPE_KEYS if key in config} or {_TYPE_KEYS[0]: _FLOAT32}
    for name, value in config.items():
        if isinstance(value, dict) and any(value is part for part in parts):
            changed[name] = {**value, **{key: _FLOAT32 for key in _TYPE_KEYS if key in value}}
    return {**config, **changed}
