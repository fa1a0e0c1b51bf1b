# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a plan, as messages: the one source for the terminal, the page, REST and MCP."""

from __future__ import annotations

import typing as t

from ..messages.message import Message

_MINUTES_FROM, _HOURS_FROM = 90, 5400


def headline(plan: t.Mapping[str, t.Any]) -> Message:
    """Return how many of the steps would run."""
    if not plan["pending"]:
        unchecked = list(dict.fromkeys(step["unchecked"] for step in plan["steps"] if step.get("unchecked")))
        if unchecked:
            return Message("planning.nothing_to_do_unchecked", name=plan["name"], unchecked=unchecked)
        return Message("planning.nothing_to_do", name=plan["name"])
    return Message("planning.steps_to_run", name=plan["name"], count=len(plan["pending"]), total=len(plan["steps"]))


def needs(plan: t.Mapping[str, t.Any]) -> list[Message]:
    """Return what the steps that would run need together: disk and time in all, memory at its peak; empty for none."""
    if not plan["pending"]:
        return []
    host, total = plan["host"], plan["needs"]
    place = {"free": host["disk_free_bytes"], "path": host["disk_path"]}
    found = [Message("planning.needs_disk", disk=total["disk_bytes"], **place)]
    if total.get("vram_bytes") and host.get("vram_bytes"):
        gpu = {"total": host["vram_bytes"], "free": host["vram_free_bytes"]}
        found.append(Message("planning.needs_gpu", vram=total["vram_bytes"], **gpu))
    if total.get("ram_bytes") and host.get("ram_available_bytes"):
        found.append(Message("planning.needs_ram", ram=total["ram_bytes"], free=host["ram_available_bytes"]))
    if "seconds" in total:
        found.append(_duration(total["seconds"]))
    return found


def of_plan(plan: t.Mapping[str, t.Any]) -> list[Message]:
    """Return everything that is said of a plan as a whole."""
    return [headline(plan), *needs(plan)]


def of_step(step: t.Mapping[str, t.Any]) -> list[Message]:
    """Return what a plan says of one of its steps: why it would run, or why not."""
    if step["runs"]:
        return [Message.from_stored(cause) for cause in step["causes"]]
    if step["state"] != "whole":
        return [Message("planning.step_not_needed")]
    if step.get("unchecked"):
        return [Message("planning.step_kept_unchecked", reason=step["unchecked"])]
    return [Message("planning.step_kept")]


def _duration(seconds: float) -> Message:
    if seconds < _MINUTES_FROM:
        return Message("planning.about_seconds", seconds=max(1, round(seconds)))
    if seconds < _HOURS_FROM:
        return Message("planning.about_minutes", minutes=round(seconds / 60))
    return Message("planning.about_hours", hours=f"{seconds / 3600:.1f}")
