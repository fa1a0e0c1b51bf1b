# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``planning``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "planning.likelihood_without_rows": Text(
        "{name} : evaluation.likelihood demande des lignes qui ne servent pas à l'entraînement, et aucune n'est "
        "déclarée.",
        "Déclarez evaluation.held_out, evaluation.rows ou validation_share.",
    ),
    "planning.likelihood_of_shared_base": Text(
        "{name} : avec export: adapter, cet affinage n'a pas de fichiers quantifiés qu'evaluation.likelihood pourrait "
        "comparer.",
        "Retirez evaluation.likelihood, ou déclarez export: merged.",
    ),
    "planning.nothing_to_compare": Text(
        "{name} : evaluation.likelihood compare des fichiers quantifiés à celui de 16 bits, et aucun n'est déclaré "
        "({quantizations:join|, }).",
        "Retirez evaluation.likelihood, ou déclarez une quantification telle que q4_K_M.",
    ),
    "planning.base_needs_imatrix": Text(
        "{name} : evaluation.against contient base, qui serait quantifiée en {type} sans matrice d'importance.",
        "Déclarez d'abord une autre quantification, ou retirez base d'evaluation.against.",
    ),
    "planning.program_missing": Text(
        "{option} demande {program}, qui n'est pas dans {directory} : une version antérieure y a construit llama.cpp.",
        "Lancez de nouveau le rôle ia_homelab.llamafactory.llamafactory ; il construit ce qui manque.",
    ),
    "planning.merge_on_the_way": "en chemin vers le fichier GGUF, sans poids fusionnés",
    "planning.merge_of_shared_base": "en chemin vers le fichier GGUF, sans poids fusionnés ; export: adapter écrirait "
    "{adapter:bytes} au lieu de {merged:bytes}, car sa base est partagée avec {others:join|, | et }, pour des réponses "
    "un peu plus longues à calculer",
    "planning.merge_needs_weights": "des poids fusionnés sont écrits : {reason}",
    "planning.merge_kept": "des poids fusionnés sont écrits et gardés",
    "planning.template_kept": Text(
        "Le modèle de conversation {template} de {model} a été déduit par une version antérieure, de son nom ou de ses "
        "fichiers ; il est gardé parce qu'un entraînement s'en est servi.",
        "Déclarez template: {template} si c'est son format.",
    ),
    "planning.rows_held_out": "l'entraînement ne lit plus {count} des {rows} lignes",
    "planning.other_rows_held_out": "d'autres lignes sont apprises",
    "planning.not_held_out": Text(
        "{name} : l'entraînement gardé met de côté {kept:g} des questions, et non {share:g} : il a lu des lignes qui "
        "seraient posées.",
        "Entraînez de nouveau (regenerate: on_change, avec hyperparameters dans regenerate_on), déclarez held_out "
        "{kept:g}, ou posez un jeu de données qui n'est pas appris (evaluation, rows).",
    ),
    "planning.nothing_held_out": Text(
        "{name} : l'entraînement gardé a lu toutes les lignes ; aucune n'est mise de côté.",
        "Entraînez de nouveau (regenerate: on_change, avec hyperparameters dans regenerate_on), ou posez un jeu de "
        "données qui n'est pas appris (evaluation, rows).",
    ),
    "planning.gate_without_aliases": Text(
        "Une porte de qualité est déclarée, et aucun alias derrière elle.",
        "Donnez des alias, comme [latest].",
    ),
    "planning.evaluation_without_aliases": Text(
        "Une évaluation est déclarée, et aucun alias derrière elle.",
        "Donnez des alias, comme [latest].",
    ),
    "planning.allowed_failures_twice": Text(
        "allowed_failures est déclaré pour la porte de qualité et dans require de l'évaluation.",
        "Déclarez-le une fois.",
    ),
    "planning.evaluates_trained_rows": Text(
        "rows de l'évaluation est le jeu de données {name}, sur lequel on entraîne.",
        "Utilisez held_out, qui garde une part de ses questions hors de l'entraînement, ou un autre jeu de données.",
    ),
    "planning.evaluation_dataset": Text(
        "{option} de l'évaluation : {problem}", "{suggestion} Déclarez-le dans finetune_datasets."
    ),
    "planning.guards_trained_rows": Text(
        "guard de l'évaluation est le jeu de données {name}, sur lequel on entraîne.",
        "Utilisez general, le jeu de questions fourni, ou un autre jeu de données.",
    ),
    "planning.requirements_unchecked": (
        "Si les questions suffisent à ce que l'évaluation exige est vérifié quand ses jeux de données sont publiés, "
        "avant tout entraînement."
    ),
    "planning.nothing_to_ask": Text(
        "L'évaluation n'a pas de question.", "Une plus grande part held_out, ou un autre jeu de données, en a."
    ),
    "planning.unattainable": Text("{problems:join| }", "{first.hint}"),
    "planning.name_invalid": Text(
        "« {name} » n'est pas un nom pour un modèle.",
        "Utilisez des lettres, des chiffres, « . », « _ » et « - », 80 au plus, une lettre ou un chiffre d'abord.",
    ),
    "planning.base_model_invalid": "base_model doit nommer un modèle, et non {name!r}.",
    "planning.no_effect": Text(
        "{options} {count:n'a|n'ont} pas d'effet avec {cause}, qui se termine par {result}.",
        "{count:Retirez-la.|Retirez-les.} {alternative}",
    ),
    "planning.ends_with_adapter": "l'adaptateur entraîné",
    "planning.ends_with_gguf": "les fichiers GGUF",
    "planning.request_model": "Ou demandez goal: model, qui n'entraîne pas de nouveau ce qui est déjà entraîné.",
    "planning.declare_register": "Ou déclarez register: true.",
    "planning.changed": "{input} {before} → {after}",
    "planning.changed_in": "{input} {before} → {after} ({detail})",
    "planning.row_counts": "{before} lignes → {after}",
    "planning.tools_changed": "les outils {names} ont changé",
    "planning.rows_added": "{count} {count:ligne ajoutée|lignes ajoutées}",
    "planning.added": "{count} {count:ajoutée|ajoutées}",
    "planning.rows_removed": "{count} {count:ligne retirée|lignes retirées}",
    "planning.removed": "{count} {count:retirée|retirées}",
    "planning.rows_changed": "{count} {count:ligne modifiée|lignes modifiées}",
    "planning.rows_changed_as_well": "{count} {count:modifiée|modifiées}",
    "planning.rows_differ": "{parts}",
    "planning.rows_reordered": "les mêmes lignes dans un autre ordre ou une autre forme",
    "planning.nothing_to_do": "{name} : rien à faire",
    "planning.nothing_to_do_unchecked": "{name} : rien à faire ({unchecked})",
    "planning.steps_to_run": "{name} : {count} {count:étape|étapes} sur {total} à exécuter",
    "planning.step_kept": "conservée",
    "planning.step_kept_unchecked": "conservée ({reason})",
    "planning.step_not_needed": "inutile",
    "planning.needs_disk": "disque {disk:bytes} sur {free:bytes} libres dans {path}",
    "planning.needs_gpu": "GPU {vram:bytes} sur {total:bytes} ({free:bytes} libres maintenant)",
    "planning.needs_ram": "RAM {ram:bytes} sur {free:bytes} libres",
    "planning.about_seconds": "environ {seconds} s",
    "planning.about_minutes": "environ {minutes} min",
    "planning.about_hours": "environ {hours} h",
    "planning.new_finetune": "un nouvel affinage",
    "planning.new_step": "nouveau dans cet affinage",
    "planning.asked_again": "il est demandé de nouveau",
    "planning.made_from_another": "ce dont il est fait change : {inputs:join| et }",
    "planning.encoder_not_served": (
        "{model} accepte des images ou du son, mais l'affinage est servi comme modèle de texte : son encodeur n'est "
        "pas servi pour l'architecture {architecture} (il l'est pour {known})."
    ),
    "planning.encoder_trained": (
        "{model} accepte des images, mais l'affinage est servi comme modèle de texte : avec {argument}: false "
        "l'entraînement modifie l'encodeur, et celui de la base ne conviendrait plus. Sans cet argument, l'encodeur "
        "est servi aussi."
    ),
    "planning.encoder_needs_ollama": (
        "{model} accepte des images, mais l'affinage est servi comme modèle de texte : Ollama à {url} est en version "
        "{version}, qui ne peut pas exécuter son encodeur. Avec {minimum} ou plus récent, il est enregistré de nouveau "
        "avec lui."
    ),
    "planning.encoder_missing": (
        "{model} a une architecture qui accepte des images, mais l'affinage est servi comme modèle de texte : les "
        "poids sur cet hôte n'ont pas d'encodeur (des tenseurs dont le nom commence par {prefixes})."
    ),
    "planning.disk_short": Text(
        "{name} : les étapes qui restent à faire ont besoin d'environ {needed:bytes} de disque, et {free:bytes} sont "
        "libres dans {path}.",
        "Libérez-y de la place.",
    ),
    "planning.ram_short": Text(
        "{name} : la plus grande de ses étapes prend environ {needed:bytes} de mémoire, et la machine en a "
        "{total:bytes} et {swap:bytes} d'espace d'échange.",
        "Ajoutez de l'espace d'échange, ou choisissez un modèle de base plus petit.",
    ),
    "planning.server_silent": Text(
        "{name} : les dernières étapes ont besoin d'Ollama à {url}, qui ne répond pas : {problem}",
        "Démarrez-le, ou déclarez register: false pour s'arrêter aux fichiers GGUF.",
    ),
    "planning.not_begun": Text(
        "Rien n'a été commencé, car l'exécution ne peut pas aboutir. {obstacles!s:join| }",
        "Corrigez cela et appliquez de nouveau. Pour commencer quand même, déclarez preflight_check: warn.",
    ),
    "planning.gpu_short": (
        "{name} : l'entraînement prend environ {needed:bytes} de mémoire du GPU, et {free:bytes} sont libres "
        "maintenant : un autre processus utilise le GPU (voir le module gpu_info)."
    ),
    "planning.warnings_of": "{name} : {warnings!s:join| }",
    "planning.distinct_systems": "{count} invites système différentes",
    "planning.one_system": "une invite système",
    "planning.rows_without_system": ", et {count} {count:ligne n'en a pas|lignes n'en ont pas}",
    "planning.most_common_system_served": (
        "Les lignes contiennent {kinds}{rest} : le modèle est servi avec la plus fréquente, de {count} "
        "{count:ligne|lignes}."
    ),
    "planning.system_of_template": "celle du modèle de conversation ({system!r})",
    "planning.no_system": "aucune",
    "planning.default_system_served": (
        "Les lignes contiennent {kinds}{rest} : le modèle est servi avec {served}, comme la plupart des "
        "lignes ont été entraînées."
    ),
}
