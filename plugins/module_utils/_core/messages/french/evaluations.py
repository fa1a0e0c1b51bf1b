# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``evaluations``."""

from __future__ import annotations

from ..text import Texts

TEXTS: Texts = {
    "evaluations.line": "{parts}",
    "evaluations.line_unmet": "{parts} ; non satisfait : {names}",
    "evaluations.met": "{measure} {met}/{asked}",
    "evaluations.value": "{measure} {value:.1f}",
    "evaluations.versus": "vs {against} {differences}",
    "evaluations.difference": "{difference:+.1f} ± {margin:.1f}",
    "evaluations.difference_of": "{measure} {difference:+.1f} ± {margin:.1f}",
    "evaluations.nothing_measured": "rien n'a été mesuré",
    "evaluations.better": "meilleur",
    "evaluations.worse": "moins bon",
    "evaluations.undecided": "indécis",
    "evaluations.share": "{met}/{asked} = {percent:.1f} % ({low:.1f} à {high:.1f})",
    "evaluations.mean": "{value:.1f} ({low:.1f} à {high:.1f}, {asked} {asked:réponse|réponses})",
    "evaluations.bound": " (borne {bound})",
    "evaluations.requirement_met": "{model} : {name} vaut {value}{bound}, comme exigé ({wanted}).",
    "evaluations.requirement_unmet": "{model} : {name} vaut {value}{bound}, mais {wanted} est exigé.",
    "evaluations.judged": (
        "{judge} a préféré {model} à {against} pour {wins} {wins:question|questions} sur {asked}, et {against} pour "
        "{losses} ; {ties} {ties:égalité|égalités}. Il s'est contredit pour {disagreements}."
    ),
    "evaluations.judge_habits": (
        "{judge} a donné {position:.0f} % de ses verdicts à la réponse lue en premier et {longer:.0f} % à la plus "
        "longue."
    ),
}
