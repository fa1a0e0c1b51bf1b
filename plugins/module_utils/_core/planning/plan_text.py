# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text form of a plan for display."""

from __future__ import annotations

import typing as t

from ..estimates.duration import describe_seconds
from ..messages.message import Message
from ..system.disk import gigabytes
from . import statements

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
    headline = statements.headline(plan).text
    if not plan["pending"]:
        return f"{headline}\n"
    reason = f" ({plan['method']}: {plan['method_reason']})" if plan["method_reason"] else ""
    common = _common_reason(steps)
    because = f": {', '.join(common)}" if common else ""
    lines = [f"{headline}{reason}{because}"]
    for step in steps:
        label = f"  {step['label']:<{width}}  "
        if not step["runs"]:
            lines += [label + said.text for said in statements.of_step(step)]
            continue
        about = [Message.from_stored(step["note"]).text] if step.get("note") else []
        why = [] if step["why"] == common else step["why"]
        details = [*why, *_choices(step, plan), *about, _requirements(step["takes"], plan["host"])]
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


def _choices(step: t.Mapping[str, t.Any], plan: t.Mapping[str, t.Any]) -> list[str]:
    """What ``tool_format`` and ``thinking`` stand for and why, with the training; where something depends on it."""
    if not step["label"].startswith("train"):
        return []
    return [
        f"{name} {plan[name]}: {Message.from_stored(plan[f'{name}_cause']).text}"
        for name in ("tool_format", "thinking")
        if plan.get(f"{name}_cause")
    ]


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
    line = "In all: " + ", ".join(need.text for need in statements.needs(plan))
    # a base that already exists takes no time
    unknown = [each for each in takes if each.get("seconds") is None and each.get("disk_bytes") != 0]
    left_out = ", downloads and what is not known left out" if unknown and "seconds" in plan["needs"] else ""
    return line + left_out
