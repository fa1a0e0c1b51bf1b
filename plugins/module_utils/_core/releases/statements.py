# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of the state of a version, as a message: the one source for the terminal, the page, REST and MCP."""

from __future__ import annotations

import typing as t

from ..messages.message import Message


def state_of(
    aliases: t.Sequence[str],
    there: bool | None,
    held: bool = False,
    pruned: bool = False,
    kept_out: bool = False,
    previous: bool = False,
    base_of: str = "",
) -> Message:
    """Return the state of a version in a word.

    :param aliases: tags that point to it, such as ``latest``.
    :param there: whether Ollama has it; None if it does not answer.
    :param held: whether a rollback holds what is served.
    :param kept_out: whether that hold blocks this version.
    :param previous: whether a rollback would serve it.
    :param base_of: the model that an evaluation compares with it, which is its base; empty for a version of a model.
    """
    if aliases:
        return Message("releases.version_held" if held else "releases.version_served", aliases=list(aliases))
    if pruned:
        return Message("releases.version_pruned")
    if there is None:
        return Message("releases.version_undetermined")
    if not there:
        return Message("releases.version_gone")
    if base_of:
        return Message("releases.version_base", model=base_of)
    if kept_out:
        return Message("releases.version_kept_out")
    return Message("releases.version_previous" if previous else "releases.version_kept")
