# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``estimates``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "estimates.does_not_fit": Text(
        "{name} : {problem}",
        "{problem.hint} Pour essayer malgré tout, déclarez memory_check: warn.",
    ),
    "estimates.gpus_on_cpu": Text(
        "gpus: {gpus} n'a pas d'effet : cette machine entraîne sur le processeur.",
        "Retirez gpus, ou entraînez sur une machine avec des GPU.",
    ),
    "estimates.too_few_gpus": Text(
        "gpus: {gpus} est déclaré, et le pilote de cette machine en voit {there}.", "Déclarez gpus: {there}."
    ),
    "estimates.suggestion": "{settings} ({memory:bytes})",
    "estimates.gpu_too_small": Text(
        "Cet entraînement prend environ {needed:bytes} de mémoire du GPU ({parts}) ; le GPU a {total:bytes}, "
        "dont {reserve:bytes} sont gardés en réserve.",
        "{suggestions}",
    ),
    "estimates.nothing_smaller": "Rien de plus petit dans le catalogue ne tiendrait non plus.",
    "estimates.nearest": "Le plus proche qui tienne : {suggestions:join| ; ou }.",
    "estimates.weights": "poids {size:bytes}",
    "estimates.weights_with_experts": (
        "poids {size:bytes}, dont {share:bytes} pour {experts} experts par couche ({active} d'entre eux par jeton)"
    ),
    "estimates.trained": "ce qui est entraîné {size:bytes}",
    "estimates.activations": "valeurs gardées pour la rétropropagation {size:bytes}",
    "estimates.logits": "scores du vocabulaire {size:bytes}",
    "estimates.ram_too_small": Text(
        "L'étape {step} prend environ {needed:bytes} de la mémoire de la machine, qui a {total:bytes} et {swap}.",
        "Ajoutez de la mémoire ou du swap. {suggestions}",
    ),
    "estimates.swap": "{size:bytes} de swap",
    "estimates.no_swap": "pas de swap",
    "estimates.decided": "{reason} (décidé le {decided_at:.10})",
    "estimates.trained_so": "c'est ainsi qu'il a déjà été entraîné",
    "estimates.fp16_chosen": (
        "precision: auto est ici fp16, car le GPU n'a pas bf16 (il faut la compute capability 8.0) : de très grandes "
        "valeurs y débordent, surveillez donc la perte."
    ),
    "estimates.no_bf16": Text(
        "{name} : {option} demande bf16, qui exige une compute capability d'au moins 8.0 ; le GPU a {capability}.",
        "Déclarez precision: fp16, sans extra.pure_bf16.",
    ),
    "estimates.no_known_gpu": "le pilote n'annonce aucun GPU dont la mémoire soit connue",
    "estimates.no_gpu": "pas de GPU, et l'entraînement quantifié en demande un",
    "estimates.small_gpu": "{total:bytes} de mémoire du GPU, dont {reserve:bytes} en réserve : moins de 12 Go",
    "estimates.large_gpu": "{total:bytes} de mémoire du GPU, dont {reserve:bytes} en réserve : 12 Go ou plus",
    "estimates.full_fits": (
        "{total:bytes} de mémoire du GPU, dont {reserve:bytes} en réserve ; {rows} lignes, et full prend environ "
        "{full:bytes}"
    ),
    "estimates.lora_fits": (
        "{total:bytes} de mémoire du GPU, dont {reserve:bytes} en réserve ; lora prend environ {lora:bytes}"
    ),
    "estimates.lora_or_full_fits": (
        "{total:bytes} de mémoire du GPU, dont {reserve:bytes} en réserve ; lora prend environ {lora:bytes} "
        "({rows} lignes supporteraient aussi full, avec un learning_rate d'au plus {learning_rate:g})"
    ),
    "estimates.qlora_fits": (
        "{total:bytes} de mémoire du GPU, dont {reserve:bytes} en réserve ; lora prendrait environ {lora:bytes}, "
        "qlora prend environ {qlora:bytes}"
    ),
    "estimates.nothing_fits": (
        "{total:bytes} de mémoire du GPU, dont {reserve:bytes} en réserve ; lora prendrait environ {lora:bytes}, "
        "et qlora, environ {qlora:bytes}, est encore trop"
    ),
}
