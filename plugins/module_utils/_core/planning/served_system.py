# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system prompt that a model is served with: the one of the rows it was trained on."""

from __future__ import annotations

import typing as t


def system_for(default_system: str, dataset_results: t.Mapping[str, t.Any]) -> tuple[str, str]:
    """Return the system prompt to serve a model with: the one it was trained with.

    :param default_system: system prompt of rows that have none: the template's, or that of ``default_system``.
    :param dataset_results: results in the receipt of the dataset; ``systems`` holds the ``most_common`` system prompt,
        the number of ``rows`` with it, the number of ``distinct`` ones, and the number of rows ``without`` one.
    :returns: the system prompt (empty for none), and a warning if the rows differ (else empty).
    """
    systems = dict(dataset_results.get("systems") or {})
    most_common = str(systems.get("most_common") or "")
    count = int(systems.get("rows") or 0)
    distinct = int(systems.get("distinct") or 0)
    without = int(systems.get("without") or 0)
    if not most_common or not count:
        return default_system, ""
    by_default = without > count
    chosen = default_system if by_default else most_common
    if distinct <= 1 and (not without or most_common == default_system):
        return chosen, ""
    kinds = f"{distinct} different system prompts" if distinct > 1 else "one system prompt"
    rest = f", and {without} rows have none" if without else ""
    if by_default:
        served = f"the template's own ({chosen!r})" if chosen else "none"
        return chosen, f"The rows hold {kinds}{rest}: the model is served with {served}, as most rows were trained."
    share = f"the most common one, of {count} rows"
    return chosen, f"The rows hold {kinds}{rest}: the model is served with {share}."
