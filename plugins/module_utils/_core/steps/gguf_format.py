# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chat format that a GGUF file is registered with."""

from __future__ import annotations

import typing as t

from ..chat_formats.house_format import TEMPLATE
from ..chat_formats.served import (
    ServedFormat,
    begins_with,
    contains_bos,
    needs_eos,
    served_format,
    starts_with_bos,
)
from ..errors import StoreError
from ..formats.gguf import GgufInfo
from ..messages.message import Message


def format_for_file(
    settings: t.Mapping[str, t.Any], info: GgufInfo, date: str = ""
) -> tuple[ServedFormat, str, list[Message]]:
    """What a model is served with, adapted to its GGUF file.

    In training the template determines whether a row starts with BOS; in serving a flag in the file determines it.

    :param settings: settings of the registration: ``template``, ``enable_thinking``, ``default_system``,
        ``tool_format``.
    :param date: day of the training (:attr:`Training.day`).
    :returns: the format, the origin of the BOS token (see :class:`Registration`), and warnings.
    :raises StoreError: when the file lacks a token that the template needs.
    """
    name = str(settings["template"])
    eos = info.token("eos") if needs_eos(name) else ""
    if needs_eos(name) and not eos:
        raise StoreError("steps.no_eos_token", path=info.path, template=name)
    bos, origin = "", "nobody"
    warnings: list[Message] = []
    if info.adds_bos:
        origin = "server"
        if not begins_with(name, info.token("bos")):
            warnings = [Message("steps.bos_unwanted", token=info.token("bos") or "BOS", template=name)]
    elif starts_with_bos(name) or contains_bos(name):
        origin = "template" if info.token("bos") else "nobody"
    if contains_bos(name) or not info.adds_bos and starts_with_bos(name):
        bos = info.token("bos")
    served = served_format(
        name,
        enable_thinking=bool(settings.get("enable_thinking", True)),
        default_system=settings.get("default_system"),
        eos=eos,
        bos=bos,
        server_bos=info.token("bos") if info.adds_bos else "",
        date=date,
        base_thinks="</think>" in str(info.metadata.get("tokenizer.chat_template", "")),
        tool_format=str(settings.get("tool_format") or TEMPLATE),
    )
    return served, origin, warnings
