# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``evaluations``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "evaluations.place": "l'évaluation",
    "evaluations.place_option": "l'option {option} de l'évaluation",
    "evaluations.no_dictionary": Text(
        "{place:capital} doit être un dictionnaire, et non {value!r}.", "Par exemple : evaluation: {{held_out: 0.2}}"
    ),
    "evaluations.held_out_and_rows": Text(
        "held_out et rows s'excluent.",
        "held_out pose des lignes du jeu de données d'entraînement, que l'entraînement ne lit pas ; rows pose un autre "
        "jeu de données.",
    ),
    "evaluations.no_share": Text(
        "{place:capital} doit être une part supérieure à 0, au plus {largest:g}, et non {value!r}.",
        "Écrivez 0.2 pour 20 %.",
    ),
    "evaluations.no_dataset": Text(
        "{place:capital} doit être le nom d'un jeu de données, et non {value!r}.",
        "Déclarez-le dans finetune_datasets, par son nom.",
    ),
    "evaluations.no_guard": Text(
        "{place:capital} doit être general ou le nom d'un jeu de données, et non {value!r}.",
        "general est le jeu de questions fourni.",
    ),
    "evaluations.no_list": Text(
        "{place:capital} doit être une liste de {choices:join|, | et }, et non {value!r}.",
        "Par exemple : against: [served]",
    ),
    "evaluations.no_choice": "{place:capital} doit être l'un de {choices:join|, | et }, et non {value!r}.",
    "evaluations.asks_nothing": Text(
        "L'évaluation ne demande rien.", "Donnez held_out, rows ou guard, ou déclarez une porte de qualité à côté."
    ),
    "evaluations.required_without_rows": Text(
        "{place:capital} : {name} est exigé, et aucune ligne qui le mesure n'est posée.",
        "Donnez held_out ou rows, ou retirez {name}.",
    ),
    "evaluations.required_without_guard": Text(
        "{place:capital} : {name} est exigé, et aucun guard n'est posé.",
        "Déclarez guard: general, ou retirez {name}.",
    ),
    "evaluations.required_without_gate": Text(
        "{place:capital} : {name} est exigé, et il n'y a pas de porte de qualité.",
        "Déclarez une porte de qualité à côté de l'évaluation, ou retirez {name}.",
    ),
    "evaluations.required_not_compared": Text(
        "{name} est exigé, et against de l'évaluation ne nomme pas {models:join|, | ou }.",
        "Ajoutez-le à against, ou retirez {name}.",
    ),
    "evaluations.judge_without_rows": Text(
        "{place:capital} est sans effet : un juge lit des réponses à des lignes, et aucune n'est posée.",
        "Donnez held_out ou rows, ou retirez judge.",
    ),
    "evaluations.judge_without_models": Text(
        "{place:capital} est sans effet : against est vide, il n'y a donc pas d'autres réponses à comparer.",
        "Nommez {models:join|, | ou } dans against, ou retirez judge.",
    ),
    "evaluations.not_compared": "{model} n'est pas comparé : {problem}",
    "evaluations.takes_too_long": Text(
        "{answers} réponses sur {total} ont pris plus de {seconds:g} secondes.",
        "Appliquez de nouveau : les réponses sont gardées, et le reste est demandé. Pour demander moins, baissez "
        "held_out ou prenez un plus petit jeu de données.",
    ),
    "evaluations.unmet_calls_equal": "appelle {calls} et non {expected}",
    "evaluations.unmet_structure": "est un JSON d'une autre structure : {place} : {reason}",
    "evaluations.no_answer": "La réponse à la question {item} n'a pas de texte.",
    "evaluations.require_invalid": Text(
        "{place:capital} doit être un dictionnaire, et non {value!r}.", "Par exemple : require: {{calls: 0.8}}"
    ),
    "evaluations.requirement_unknown": Text(
        "{place:capital} a une clé inconnue {key!r}. {suggestion}", "Les clés sont {names}."
    ),
    "evaluations.share_invalid": Text(
        "{place:capital} : {name} doit être une proportion supérieure à 0 et d'au plus 1, et non {value!r}.",
        "Écrivez 0.8 pour 80 %.",
    ),
    "evaluations.text_invalid": Text(
        "{place:capital} : text doit être supérieur à 1 et d'au plus 100, et non {value!r}.",
        "C'est le chrF, qui va de 0 à 100.",
    ),
    "evaluations.drop_invalid": Text(
        "{place:capital} : guard_drop_at_most doit être une proportion d'au moins 0 et inférieure à 1, et non "
        "{value!r}.",
        "Écrivez 0.1 si la proportion peut baisser d'un dixième.",
    ),
    "evaluations.failures_invalid": (
        "{place:capital} : allowed_failures doit être un nombre entier, au moins 0, et non {value!r}."
    ),
    "evaluations.confidence_unknown": Text(
        "{place:capital} : confidence doit être l'une des valeurs {degrees}, et non {value!r}.", "0.95 est habituel."
    ),
    "evaluations.confidence_without_effect": Text(
        "{place:capital} : confidence n'a aucun effet : rien de ce à quoi elle s'applique n'est exigé.",
        "Exigez une mesure, not_worse_than_served ou guard_drop_at_most, ou retirez-la.",
    ),
    "evaluations.requirement_without_questions": Text(
        "{name} est exigé, et aucune question ne le mesure.",
        "Retirez l'exigence, ou ajoutez des questions dont les réponses sont ainsi mesurées.",
    ),
    "evaluations.requirement_unattainable": Text(
        "{name} : {wanted:g} avec une confiance de {confidence:g} ne peut pas être atteint : même si {asked} "
        "{asked:réponse est juste|réponses sont justes}, la borne inférieure est {reached:.2f}.",
        "Il faut au moins {needed} questions ; ou exigez moins, ou omettez confidence.",
    ),
    "evaluations.requirement_unprovable": Text(
        "{name} : {wanted:g} avec une confiance de {confidence:g} ne peut pas être atteint : aucun nombre de questions "
        "ne prouve que toutes les réponses sont justes, et il y en a {asked}.",
        "Exigez moins de 1, ou omettez confidence.",
    ),
    "evaluations.chrf_in_container": (
        "Les textes ne sont comparés que pour leur égalité : le chrF a besoin de l'environnement du convertisseur sur "
        "l'hôte, et les outils s'exécutent dans des conteneurs ({image})."
    ),
    "evaluations.chrf_not_installed": (
        "Les textes ne sont comparés que pour leur égalité : l'environnement du convertisseur {path!r} n'a pas "
        "sacrebleu, qui calcule le chrF."
    ),
    "evaluations.chrf_required": Text(
        "text est exigé et ne peut pas être mesuré. {reason}",
        "Exécutez le rôle llamafactory, qui l'installe sur l'hôte, ou exigez plutôt same.",
    ),
    "evaluations.lines_for_pairs": "{lines} lignes pour {pairs} paires",
    "evaluations.chrf_failed": Text(
        "Le chrF ne peut pas être calculé avec {python} : {reason}.",
        "Exécutez de nouveau le rôle llamafactory ; il installe sacrebleu dans l'environnement du convertisseur.",
    ),
    "evaluations.few_questions": (
        "{name} : avec {asked} {asked:question|questions}, une proportion mesurée de {met}/{asked} peut être en vérité "
        "comprise entre {low:.2f} et {high:.2f} (confiance de {confidence} %)."
    ),
    "evaluations.judge_invalid": Text(
        "{place:capital} doit être un dictionnaire avec le nom d'un modèle d'Ollama, et non {value!r}.",
        'Par exemple : judge: {{model: "qwen3:14b"}}',
    ),
    "evaluations.judge_key_unknown": Text(
        "{place:capital} a une clé inconnue {key!r}. {suggestion}", "Les clés sont {names}."
    ),
    "evaluations.rubric_invalid": Text(
        "{place:capital} : rubric doit être un texte, et non {value!r}.",
        "Dites ce qui rend une réponse meilleure, ou omettez-la.",
    ),
    "evaluations.judge_missing": Text(
        "Le juge {model} n'est pas dans Ollama à l'adresse {url}.",
        "Exécutez « ollama pull {model} », ou déclarez un autre juge.",
    ),
    "evaluations.judge_unread": (
        "Le juge {judge} n'a pas rendu de verdict sur {count} des {asked} paires de {model} et {against} : sa réponse "
        "n'était pas le JSON demandé. Ces paires ne comptent pour aucun des deux."
    ),
    "evaluations.judge_disagrees": (
        "Le juge {judge} s'est contredit sur {count} des {asked} paires de {model} et {against} : son verdict "
        "dépendait de l'ordre des réponses. Ces paires ne comptent pour aucun des deux."
    ),
    "evaluations.judge_prefers_first": (
        "Le juge {judge} a choisi la première réponse dans {share} % de ses verdicts sur {model} et {against}, au "
        "lieu de la moitié attendue."
    ),
    "evaluations.judge_prefers_second": (
        "Le juge {judge} a choisi la seconde réponse dans {share} % de ses verdicts sur {model} et {against}, au "
        "lieu de la moitié attendue."
    ),
    "evaluations.judge_prefers_longer": (
        "Le juge {judge} a choisi la réponse la plus longue dans {share} % de ses verdicts sur {model} et {against} "
        ": la longueur a pu décider, et non la qualité."
    ),
    "evaluations.no_difference": (
        "{model} et {against} concordent sur {asked} {asked:question mesurée|questions mesurées} par {name} ; leurs "
        "réponses peuvent pourtant différer pour jusqu'à {share:.0%} de toutes les questions (confiance de "
        "{confidence} %)."
    ),
    "evaluations.quantization_cost": "{model} a {size:.0f} % de la taille de {against} : {differences}.",
    "evaluations.likelihood": (
        "{model} : perplexité {perplexity:.4g}, {perplexity_ratio:.4f} ± {perplexity_ratio_error:.4f} fois celle de "
        "f16 ; divergence {divergence:.4f} ± {divergence_error:.4f} ; le jeton le plus probable est celui de f16 dans "
        "{same_top:.1f} % des cas."
    ),
    "evaluations.likelihood_of_half": "{model} : perplexité {perplexity:.4g}.",
    "evaluations.answers_missing": "{model} n'a pas répondu à {count} {count:question|questions}.",
    "evaluations.lacks_measure": "{model} : {name} n'a pas été mesuré, et {wanted:g} est exigé.",
    "evaluations.lacks_value": "{model} : {name} vaut {value:.3g} et doit être d'au moins {wanted:g}.",
    "evaluations.lacks_bound": (
        "{model} : {name} vaut {value:.3g}, et sa borne inférieure {bound:.3g} doit être d'au moins {wanted:g}."
    ),
    "evaluations.lacks_served": "{model} : {name} est inférieur de {value:.3g} à celui du modèle servi actuellement.",
    "evaluations.lacks_guard": (
        "{model} : la proportion de questions témoins est inférieure de {value:.3g}, et {wanted:g} est permis."
    ),
    "evaluations.lacks_guard_bound": (
        "{model} : la proportion de questions témoins est inférieure de {value:.3g}, peut-être de {bound:.3g}, et "
        "{wanted:g} est permis."
    ),
    "evaluations.lacks_gate": (
        "{model} : {value} {value:réponse|réponses} à la porte de qualité "
        "{value:n'est pas conforme|ne sont pas conformes}, et {wanted} {wanted:est permise|sont permises}."
    ),
    "evaluations.lacks_regression": (
        "{model} : {value} {value:question|questions} de la porte de qualité {value:a|ont} eu une réponse conforme du "
        "modèle servi actuellement, et n'en {value:a|ont} plus."
    ),
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
    "evaluations.requirement_met": "{model} : {name} vaut {value}{bound}, et au moins {wanted} est exigé.",
    "evaluations.not_worse": (
        "{model} : {name} diffère de {value}{bound} de celui du modèle servi actuellement : il n'est pas inférieur."
    ),
    "evaluations.guard_kept": (
        "{model} : la proportion de questions témoins diffère de {value}{bound}, et peut être inférieure de {wanted}."
    ),
    "evaluations.no_regression": (
        "{model} : aucune question de la porte de qualité n'échoue que le modèle servi actuellement réussit."
    ),
    "evaluations.nothing_to_compare": "{model} : {name} est satisfait : il n'y a rien à quoi comparer.",
    "evaluations.judged": (
        "{judge} a préféré {model} à {against} pour {wins} {wins:question|questions} sur {asked}, et {against} pour "
        "{losses} ; {ties} {ties:égalité|égalités}. Il s'est contredit pour {disagreements}."
    ),
    "evaluations.judge_habits": (
        "{judge} a donné {position:.0f} % de ses verdicts à la réponse lue en premier et {longer:.0f} % à la plus "
        "longue."
    ),
}
