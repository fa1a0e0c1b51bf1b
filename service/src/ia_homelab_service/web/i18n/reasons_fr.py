# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French translations of the reasons that the core gives for steps, and for the method that ``auto`` selects.

The core has English messages only. Errors stay in English, marked as such; reasons appear on the page in normal
operation.
"""

from __future__ import annotations

import re

_HAS = r"([\d.]+ \w+) of GPU memory, ([\d.]+ \w+) in reserve"
_A = r"{0} de mémoire du GPU, dont {1} en réserve"
#: Pattern of the complete English reason, and French template for its groups.
_REASONS: tuple[tuple[str, str], ...] = (
    ("not made yet", "pas encore produit"),
    (r"made from another ([\w, -]+)", "ce dont il est fait change : {0}"),
    ("pruned", "supprimé pour faire de la place"),
    ("its receipt belongs to another result", "son reçu est celui d'un autre résultat"),
    ("its receipt is damaged", "son reçu est endommagé"),
    (r"(\S+) is gone", "{0} a disparu"),
    (r"(\S+) has (\d+) bytes instead of (\d+)", "{0} a {1} octets au lieu de {2}"),
    (
        r"not checked: Ollama is stopped for the training (\S+)",
        "non vérifié : Ollama est arrêté pendant l'entraînement {0}",
    ),
    ("it has been trained so already", "c'est ainsi qu'il a déjà été entraîné"),
    ("the driver reports no GPU whose memory is known", "le pilote n'annonce aucun GPU dont la mémoire soit connue"),
    ("no GPU: quantized training needs one", "pas de GPU, et l'entraînement quantifié en demande un"),
    (f"{_HAS}: less than 12 GB", f"{_A} : moins de 12 GB"),
    (f"{_HAS}: 12 GB or more", f"{_A} : 12 GB ou plus"),
    (rf"{_HAS}; (\d+) rows, and full takes about ([\d.]+ \w+)", f"{_A} ; {{2}} lignes, et full prend environ {{3}}"),
    (rf"{_HAS}; lora takes about ([\d.]+ \w+)", f"{_A} ; lora prend environ {{2}}"),
    (
        rf"{_HAS}; lora would take about ([\d.]+ \w+), qlora takes about ([\d.]+ \w+)",
        f"{_A} ; lora prendrait environ {{2}}, qlora prend environ {{3}}",
    ),
    (
        rf"{_HAS}; lora would take about ([\d.]+ \w+), qlora takes about ([\d.]+ \w+), and that is too much as well",
        f"{_A} ; lora prendrait environ {{2}}, et qlora, environ {{3}}, est encore trop",
    ),
)
_SIZE = re.compile(r"\b([\d.]+) ([kMGT])B\b")
_DECIDED = re.compile(r"(.*) \(decided (\S*)\)\Z", re.DOTALL)


def to_french(reason: str) -> str:
    """Return a reason in French; empty if there is no translation."""
    decided = _DECIDED.match(reason)
    if decided:
        found = to_french(decided.group(1))
        return f"{found} (décidé le {decided.group(2)[:10]})" if found else ""
    for pattern, template in _REASONS:
        match = re.fullmatch(pattern, reason)
        if match:
            text = template.format(*match.groups())
            return _SIZE.sub(lambda size: f"{size.group(1).replace('.', ',')} {size.group(2)}o", text)
    return ""
