# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system prompt that a model is served with: the one of the rows it was trained on."""

from __future__ import annotations

import typing as t

from ..messages.message import Message


def system_for(default_system: str, dataset_results: t.Mapping[str, t.Any]) -> tuple[str, Message | None]:
    """Return the system prompt to serve a model with: the one it was trained with.

    :param default_system: system prompt of rows that have none: the template's, or that of ``default_system``.
    :param dataset_results: results in the receipt of the dataset; ``systems`` holds the ``most_common`` system prompt,
        the number of ``rows`` with it, the number of ``distinct`` ones, and the number of rows ``without`` one.
    :returns: the system prompt (empty for none), and a warning if the rows differ (else None).
    """
    systems = dict(dataset_results.get("systems") or {})
    most_common = str(systems.get("most_common") or "")
    count = int(systems.get("rows") or 0)
    distinct = int(systems.get("distinct") or 0)
    without = int(systems.get("without") or 0)
    if not most_common or not count:
        return default_system, None
    by_default = without > count
    chosen = default_system if by_default else most_common
    if distinct <= 1 and (not without or most_common == default_system):
        return chosen, None
    kinds = Message("planning.distinct_systems", count=distinct) if distinct > 1 else Message("planning.one_system")
    rest = Message("planning.rows_without_system", count=without) if without else None
    if not by_default:
        return chosen, Message("planning.most_common_system_served", kinds=kinds, rest=rest, count=count)
    served = Message("planning.system_of_template", system=chosen) if chosen else Message("planning.no_system")
    return chosen, Message("planning.default_system_served", kinds=kinds, rest=rest, served=served)
