# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each quantization costs: its answers compared with those of the largest one, and what llama.cpp has measured.

The step ``likelihood`` measures files, not models. Its results belong to a version whose registration serves the file,
and may be there later than the report of an evaluation; so they are looked up where a report is read, too.
"""

from __future__ import annotations

import typing as t

from ..artifacts.layout import Layout
from ..messages.message import Message
from ..releases import lineage

#: The label of the 16-bit file in the results of a comparison.
_HALF = "f16"

#: Results of the step ``likelihood`` about one file, by label of the candidate that serves it.
Likelihood = t.Mapping[str, t.Mapping[str, t.Any]]


def measured_files(layout: Layout) -> dict[str, dict[str, t.Any]]:
    """Return what the step ``likelihood`` has last measured of each file, by the fingerprint of the file.

    :returns: ``perplexity``, ``divergence``, ``same_top`` and ``perplexity_ratio``, each with ``value`` and
        ``error``, and ``tokens``, how many were read; the 16-bit file has a ``perplexity`` alone.
    """
    measured = sorted(lineage.receipts_of(layout, "likelihood"), key=lambda each: str(each.get("finished_at") or ""))
    by_file: dict[str, dict[str, t.Any]] = {}
    for receipt in measured:
        results = receipt.get("results") or {}
        files = {**((receipt.get("settings") or {}).get("candidates") or {})}
        files[_HALF] = (receipt.get("upstream") or {}).get("gguf")
        for name, figures in (results.get("quantizations") or {}).items():
            if files.get(name):
                by_file[str(files[name])] = {**figures, "tokens": results.get("tokens")}
    return by_file


def likelihood_of(
    layout: Layout, registrations: t.Mapping[str, str], files: t.Mapping[str, dict[str, t.Any]] | None = None
) -> dict[str, dict[str, t.Any]]:
    """Return what was measured of the files of some registrations, by label, without those that were not measured.

    :param registrations: fingerprint of the registration of each candidate, by its label.
    :param files: :func:`measured_files`, if it is known.
    """
    files = measured_files(layout) if files is None else files
    found = {}
    for label, registration in registrations.items() if files else ():
        registered = lineage.read_receipt(layout, "register", registration) or {}
        figures = files.get(str((registered.get("upstream") or {}).get("gguf")))
        if figures is not None:
            found[label] = figures
    return found


def section(report: t.Mapping[str, t.Any], likelihood: Likelihood) -> list[dict[str, t.Any]]:
    """Return what each candidate of a report costs against the largest one.

    :param report: with ``models`` and ``comparisons`` (:func:`.report.build`).
    :param likelihood: :func:`likelihood_of`.
    :returns: for each candidate: ``model``, ``bytes``; ``against``, the label of the largest candidate, empty for that
        one itself; ``size``, share of its bytes; ``differences`` of their answers by measure, each with ``difference``,
        ``low``, ``high`` and ``asked``; ``likelihood``, None if it was not measured. Empty for a single candidate of
        which no likelihood is known.
    """
    candidates = [model for model in report["models"] if model["role"] == "candidate"]
    if len(candidates) < 2 and not likelihood:
        return []
    largest = max(candidates, key=lambda model: model["bytes"], default={"label": "", "bytes": 0})
    return [
        {
            "model": model["label"],
            "bytes": model["bytes"],
            "against": "" if model is largest else largest["label"],
            "size": model["bytes"] / largest["bytes"] if largest["bytes"] else 1.0,
            "differences": {
                each["measure"]: {name: each[name] for name in ("difference", "low", "high", "asked")}
                for each in report["comparisons"]
                if model is not largest and (each["model"], each["against"]) == (model["label"], largest["label"])
            },
            "likelihood": dict(likelihood[model["label"]]) if model["label"] in likelihood else None,
        }
        for model in candidates
    ]


def messages(
    entry: t.Mapping[str, t.Any], difference: t.Callable[[t.Mapping[str, t.Any]], Message]
) -> t.Iterator[Message]:
    """Yield what an entry of :func:`section` says.

    :param difference: returns what is said of a difference with its ``measure``.
    """
    if entry["against"]:
        yield Message(
            "evaluations.quantization_cost",
            model=entry["model"],
            against=entry["against"],
            size=100 * float(entry["size"]),
            differences=[difference({**each, "measure": name}) for name, each in entry["differences"].items()],
        )
    found = entry.get("likelihood") or {}
    if "divergence" in found:
        facts = {name: float(found[name]["value"]) for name in ("perplexity", "perplexity_ratio", "divergence")}
        errors = {f"{name}_error": float(found[name]["error"]) for name in ("perplexity_ratio", "divergence")}
        same = 100 * float(found["same_top"]["value"])
        yield Message("evaluations.likelihood", model=entry["model"], same_top=same, **facts, **errors)
    elif "perplexity" in found:
        value = float(found["perplexity"]["value"])
        yield Message("evaluations.likelihood_of_half", model=entry["model"], perplexity=value)
