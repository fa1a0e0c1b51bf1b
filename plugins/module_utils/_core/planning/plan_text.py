# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text form of a plan for display."""

from __future__ import annotations

import typing as t

from ..estimates.duration import describe_seconds
from ..messages.message import Message
from ..system.disk import gigabytes

#: Characters of the details of a step on one line.
_WIDTH = 90


def text(plan: t.Mapping[str, t.Any]) -> str:
    """Format a plan: the steps that would run, the reasons and the requirements.

    ::

        homelab-model: 5 of 6 steps would run (qlora: 12.9 GB of GPU memory, …)
          base             kept
          train            learning_rate 0.0001 → 0.0002; GPU 10.0 GB of 12.9 GB, RAM 4.7 GB, about 7 min
          …
        In all: disk 36.6 GB of 210.0 GB free at /data/llamafactory, RAM 4.8 GB of 27.3 GB free, about 11 min
    """
    steps = plan["steps"]
    width = max(len(step["label"]) for step in steps)
    if not plan["pending"]:
        unchecked = list(dict.fromkeys(step["unchecked"] for step in steps if step.get("unchecked")))
        notes = f" ({', '.join(unchecked)})" if unchecked else ""
        return f"{plan['name']}: nothing to do{notes}\n"
    reason = f" ({plan['method']}: {plan['method_reason']})" if plan["method_reason"] else ""
    common = _common_reason(steps)
    because = f": {', '.join(common)}" if common else ""
    lines = [f"{plan['name']}: {len(plan['pending'])} of {len(steps)} steps would run{reason}{because}"]
    for step in steps:
        label = f"  {step['label']:<{width}}  "
        if not step["runs"]:
            kept = f"kept ({step['unchecked']})" if step.get("unchecked") else "kept"
            lines.append(label + (kept if step["state"] == "whole" else "not needed"))
            continue
        about = [Message.from_stored(step["note"]).text] if step.get("note") else []
        why = [] if step["why"] == common else step["why"]
        details = [*why, *_tool_format(step, plan), *about, _requirements(step["takes"], plan["host"])]
        lines += [
            (label if number == 0 else " " * len(label)) + each
            for number, each in enumerate(_joined([detail for detail in details if detail]) or ["to be made"])
        ]
    if plan.get("base_unchecked"):
        lines.append(f"The files of the base: not checked ({plan['base_unchecked']})")
    lines.append(_total(plan))
    return "".join(f"{line}\n" for line in lines if line.strip())


def _common_reason(steps: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """The reasons of the steps that would run, if several have the same; said once, in the first line."""
    reasons = [list(step["why"]) for step in steps if step["runs"]]
    return reasons[0] if len(reasons) > 1 and all(each == reasons[0] for each in reasons) else []


def _joined(details: t.Sequence[str]) -> list[str]:
    """Details of a step on as few lines as fit into a terminal."""
    lines: list[str] = []
    for detail in details:
        if lines and len(lines[-1]) + len(detail) < _WIDTH:
            lines[-1] += f"; {detail}"
        else:
            lines.append(detail)
    return lines


def _tool_format(step: t.Mapping[str, t.Any], plan: t.Mapping[str, t.Any]) -> list[str]:
    """What ``tool_format`` stands for and why, with the training; empty where no row has tools."""
    cause = plan.get("tool_format_cause")
    if not step["label"].startswith("train") or not cause:
        return []
    return [f"tool_format {plan['tool_format']}: {Message.from_stored(cause).text}"]


def _requirements(takes: t.Mapping[str, t.Any], host: t.Mapping[str, t.Any]) -> str:
    parts = []
    if takes.get("vram_bytes"):
        share = f" of {gigabytes(host['vram_bytes'])} ({gigabytes(host['vram_free_bytes'])} free now)"
        parts.append(f"GPU {gigabytes(takes['vram_bytes'])}" + (share if host.get("vram_bytes") else ""))
    if takes.get("ram_bytes"):
        parts.append(f"RAM {gigabytes(takes['ram_bytes'])}")
    if takes.get("disk_bytes"):
        parts.append(f"disk {gigabytes(takes['disk_bytes'])}")
    if takes.get("optimizer_steps"):
        count = takes["optimizer_steps"]
        parts.append(f"{count} optimizer step{'' if count == 1 else 's'}")
    if takes.get("seconds") is not None:
        parts.append(
            describe_seconds(takes["seconds"])
            + (" (as the last time)" if takes["seconds_from"] == "the last time" else "")
        )
    return ", ".join(parts)


def _total(plan: t.Mapping[str, t.Any]) -> str:
    takes = [step["takes"] for step in plan["steps"] if step["runs"]]
    host, needs = plan["host"], plan["needs"]
    disk, free = gigabytes(needs["disk_bytes"]), gigabytes(host["disk_free_bytes"])
    line = f"In all: disk {disk} of {free} free at {host['disk_path']}"
    ram = needs.get("ram_bytes", 0)
    if ram and host.get("ram_available_bytes"):
        line += f", RAM {gigabytes(ram)} of {gigabytes(host['ram_available_bytes'])} free"
    if "seconds" in needs:
        # a base that already exists takes no time
        unknown = [each for each in takes if each.get("seconds") is None and each.get("disk_bytes") != 0]
        note = "" if not unknown else ", downloads and what is not known left out"
        line += f", {describe_seconds(needs['seconds'])}{note}"
    return line
