# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evaluations of a data directory, found by the versions that they have asked. Read-only.

What retention removes of an evaluation are questions and answers; its report stays.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import typing as t

from ..artifacts.layout import REPORT_FILE, Layout
from ..errors import StoreError
from ..releases.promotion import Releases, content_tag
from ..system.files import read_record
from .quantizations import likelihood_of, measured_files, section

KIND = "evaluate"
#: What a promotion renews in a report.
_COMPARED = ("requirements", "passed", "declared", "chosen")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A complete evaluation.

    :param path: its directory.
    :param finished_at: when it was completed, in UTC.
    :param candidates: fingerprint of the registration of each candidate, by its label in the report.
    """

    fingerprint: str
    path: str
    finished_at: str
    candidates: t.Mapping[str, str]

    def label_of(self, registration: str) -> str:
        """The label of a version in the report; empty if it was not a candidate."""
        return next((label for label, other in self.candidates.items() if other == registration), "")

    def report(self) -> dict[str, t.Any] | None:
        """Its report; None if it is missing or damaged."""
        report = read_record(os.path.join(self.path, REPORT_FILE))
        if report is None or not isinstance(report.get("models"), list):
            return None
        return report


class Evaluations:
    """All complete evaluations, as they are now.

    Only their receipts are read at first: a list of all versions needs no report.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.all = sorted(_read(layout), key=lambda each: (each.finished_at, each.fingerprint), reverse=True)
        self._latest: dict[str, Evaluation] = {}
        for evaluation in reversed(self.all):
            self._latest.update(dict.fromkeys(evaluation.candidates.values(), evaluation))

    @functools.cached_property
    def _measured_files(self) -> dict[str, dict[str, t.Any]]:
        return measured_files(self._layout)

    def latest_of(self, registration: str) -> Evaluation | None:
        """The last evaluation of a version; None if there is none.

        :param registration: fingerprint of its registration.
        """
        return self._latest.get(registration)

    def report_of(self, registration: str) -> tuple[Evaluation, dict[str, t.Any], str] | None:
        """The last evaluation of a version, its report, and the label of the version in it; None if there is none.

        The requirements in the report are those of the last promotion that compared it, whether it passed or not; what
        was measured of the quantizations may be more recent.
        """
        evaluation = self.latest_of(registration)
        report = evaluation.report() if evaluation is not None else None
        if evaluation is None or report is None:
            return None
        report = {**report, **self._compared(evaluation, report)}
        report["quantizations"] = section(
            report, likelihood_of(self._layout, evaluation.candidates, self._measured_files)
        )
        return evaluation, report, evaluation.label_of(registration)

    def _compared(self, evaluation: Evaluation, report: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """What the last promotion found when it compared a report; empty if none has."""
        name = str(report.get("name") or "")
        releases = Releases(self._layout, name)
        gates = releases.ledger().gates if name else {}
        tags = [content_tag(name, found, label) for label, found in evaluation.candidates.items()] if gates else []
        for tag in sorted(
            (tag for tag in tags if tag in gates), key=lambda tag: str(gates[tag].get("at")), reverse=True
        ):
            record = read_record(releases.gate_report(tag))
            if record is not None and record.get("asked_at") == report.get("asked_at") and "models" in record:
                return {key: record[key] for key in _COMPARED if key in record}
        return {}


def model_of(report: t.Mapping[str, t.Any], label: str) -> dict[str, t.Any] | None:
    """The entry of a model in a report; None if the report has none of that label."""
    return next((dict(model) for model in report["models"] if model.get("label") == label), None)


def _read(layout: Layout) -> t.Iterator[Evaluation]:
    try:
        names = os.listdir(layout.parent(KIND))
    except FileNotFoundError:
        return
    for name in names:
        try:
            receipt = layout.receipt(KIND, name)
        except (StoreError, OSError):
            continue  # no artifact, such as a directory of work, or a damaged one
        if receipt is None or receipt.get("fingerprint") != name:
            continue
        candidates = (receipt.get("settings") or {}).get("candidates") or {}
        yield Evaluation(
            name,
            layout.artifact(KIND, name),
            str(receipt.get("finished_at") or ""),
            {str(label): str(fingerprint) for label, fingerprint in candidates.items()},
        )
