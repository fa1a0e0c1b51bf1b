# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table at the end of an apply."""

from __future__ import annotations

import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs import statements
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.progress import format_duration
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._table import finding_lines, table

_HEADS = ("MODEL", "VERSION", "LOSS", "FINDINGS", "TIME")


def result_lines(
    results: t.Sequence[t.Mapping[str, t.Any]],
    ollama_url: str,
    page_url: str = "",
    explained: bool = True,
    ollama_program: str = "ollama",
) -> list[str]:
    """Return the table, what was evaluated, the findings, and what to do next as lines.

    :param results: as :func:`engine.results.results_of` returns them.
    :param ollama_url: URL of Ollama, as seen from the host.
    :param page_url: URL of the page of the training service; empty if there is none.
    :param ollama_program: program that asks a model on the host; empty for no line about it.
    :param explained: whether the findings have lines of their own; those of a training that was followed are warnings.
    """
    if not results:
        return ["No fine-tune of this host: none is declared for it, or other hosts make them."]
    lines = table([_HEADS, *(_row(result) for result in results)])
    lines += [f"{result['name']}: {result['evaluation']}" for result in results if result.get("evaluation")]
    for result in results if explained else ():
        lines += [f"{result['name']}: {line}" for line in finding_lines(result["findings"])]
    for result in results:
        served = result["alias"] or result["version"]
        if served and ollama_program:
            lines.append(f"Ask it, on the host: OLLAMA_HOST={ollama_url} {ollama_program} run {served}")
        elif result["path"] and not served:
            lines.append(statements.place_of_result(result["name"], result["path"]).text)
    return [*lines, f"The page: {page_url}"] if page_url else lines


def _row(result: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    first, last = result["loss_first"], result["loss_last"]
    return (
        result["name"],
        result["version"].rpartition(":")[2] or "-",
        "-" if first is None or last is None else f"{first:.4g} → {last:.4g}",
        str(len(result["findings"])) if result["findings"] else "none",
        format_duration(result["seconds"]),
    )
