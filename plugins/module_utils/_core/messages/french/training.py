# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``training``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "training.adapter_with_merged": Text(
        "export: adapter n'écrit pas de poids fusionnés, et keep_merged en demande.",
        "Retirez l'un des deux.",
    ),
    "training.one_pass_empty": "son adaptateur est vide",
    "training.one_pass_method": "la méthode {method} change les poids de la base elle-même",
    "training.one_pass_argument": "extra.{argument} change plus que ne fait un adaptateur",
    "training.one_pass_tokens": "l'entraînement a ajouté des jetons",
    "training.one_pass_weights": "la base n'a pas de poids en safetensors avec une configuration",
    "training.one_pass_setting": "son adaptateur a {setting} dans adapter_config.json",
    "training.one_pass_tensor": "la base n'a pas le tenseur auquel {tensor} de l'adaptateur appartient",
    "training.one_pass_shape": "{tensor} n'a pas la même forme dans la base et dans l'adaptateur",
    "training.one_pass_tied": "l'adaptateur change des plongements qui servent à l'entrée et à la sortie",
    "training.method_without_adapter": Text(
        "export: adapter demande un adaptateur, et la méthode {method} n'en fait pas.",
        "Déclarez method: lora ou qlora, ou export: merged.",
    ),
    "training.adapter_is_not_model": Text(
        "avec extra.{argument}, l'adaptateur seul n'est pas le modèle qui a été entraîné.",
        "Déclarez export: merged.",
    ),
    "training.qlora_without_gpu": Text(
        "qlora demande un GPU : un processeur ne calcule pas avec des poids en 4 bits.",
        "Utilisez method: lora.",
    ),
    "training.fp16_without_gpu": Text("fp16 demande un GPU.", "Retirez precision, ou déclarez fp32."),
    "training.no_chat_template": Text(
        "LLaMA-Factory {version} n'a pas de modèle de conversation « {name} ».",
        "{suggestion}",
    ),
    "training.no_argument": Text("LLaMA-Factory {version} n'a pas d'argument « {name} » (extra).", "{suggestion}"),
    "training.option_bounds": "{option} doit être {bounds:join| et }, et non {value}.",
    "training.imatrix_needed": Text(
        "{types:join|, } : ne peut être fait sans matrice d'importance.",
        "Déclarez imatrix: dataset, ou des types de plus de bits (q2_K et au-dessus).",
    ),
    "training.imatrix_unused": Text(
        "{types:join|, } n'utilise pas de matrice d'importance.",
        "Retirez imatrix, ou déclarez un type qu'elle change (q6_K et au-dessous).",
    ),
    "training.imatrix_of_shared_base": Text(
        "avec export: adapter, la base est quantifiée une fois pour tous ses affinages, et non selon les "
        "lignes d'un seul.",
        "Retirez imatrix, ou déclarez export: merged.",
    ),
    "training.quantizations_invalid": "quantizations doit être une liste de types GGUF, et non {value}.",
    "training.extra_invalid": "extra doit être un dictionnaire d'arguments de LLaMA-Factory, et non {value}.",
    "training.too_little_text": Text(
        "Le jeu de données « {name} » contient moins de texte ({size} octets) qu'un morceau de {cutoff_len} jetons.",
        "Diminuez cutoff_len, ou ajoutez du texte : ce qui ne remplit pas un morceau n'est pas appris.",
    ),
    "training.reward_model_not_served": Text(
        "Un modèle de récompense (stage rm) note des réponses et n'en donne pas : il n'y a rien à servir pour Ollama.",
        "Retirez register : l'exécution se termine par l'adaptateur entraîné et sa tête de valeur.",
    ),
    "training.rows_sft": "des questions et des réponses",
    "training.rows_preference": "des paires de réponses, préférée et rejetée",
    "training.rows_kto": "des réponses avec un kto_tag",
    "training.rows_text": "du texte",
    "training.dataset_of_other_stage": Text(
        "Le stage {stage} s'entraîne sur {wanted}, et le jeu de données « {name} » contient {rows}.",
        "Déclarez stage: {stages:join| ou }, ou un autre jeu de données.",
    ),
    "training.above": "supérieur à {bound:g}",
    "training.at_least": "au moins {bound:.10g}",
    "training.at_most": "au plus {bound:.10g}",
    "training.option_no_integer": "{option} doit être un nombre entier, et non {value}.",
    "training.option_no_number": "{option} doit être un nombre, et non {value}.",
    "training.option_no_word": "{option} doit être un mot, et non {value}.",
    "training.option_no_text": "{option} doit être un texte, et non {value}.",
    "training.option_no_boolean": "{option} doit être true ou false, et non {value}.",
    "training.option_no_list": "{option} doit être une liste de mots, et non {value}.",
    "training.option_no_mapping": "{option} doit être un dictionnaire, et non {value}.",
    "training.options_wrong": "{count} options sont fausses.\n- {problems!s:join|\n- }",
    "training.of_finetune": Text("{name} : {problem}", "{problem.hint}"),
    "training.declared_twice": "{option} est déclarée deux fois : comme {first} et comme {second}.",
    "training.written_as": Text("{key} : {problem}", "{problem.hint}"),
    "training.option_unknown": Text("Il n'y a pas d'option « {option} » d'un affinage.", "{advice}"),
    "training.argument_is_option": Text(
        "{argument} est un argument de LLaMA-Factory, et non une option d'un affinage.",
        "Déclarez {declaration} à la place.",
    ),
    "training.argument_of_modules": Text(
        "{argument} est un argument de LLaMA-Factory que ce programme fixe lui-même.",
        "Utilisez l'option {option} des modules à la place.",
    ),
    "training.argument_managed": Text(
        "{argument} est un argument de LLaMA-Factory que ce programme fixe lui-même.", "Retirez-le."
    ),
    "training.see_options": "Le README du rôle finetune énumère les options.",
    "training.option_choice": Text("{option} doit être parmi {choices}, et non {value}.", "{advice}"),
    "training.no_prompt_tuning": Text(
        "La méthode « {method} » est impossible : LLaMA-Factory n'a pas de prompt tuning, et un fichier GGUF, "
        "qui ne contient que des poids, ne peut pas contenir de soft prompts.",
        "La méthode la plus proche est lora avec un rang faible : method: lora, lora_rank: 4.",
    ),
    "training.is_pref_loss": "Déclarez stage: dpo et pref_loss: {loss}.",
    "training.no_ppo": (
        "Ses récompenses viennent pendant l'entraînement, d'un second modèle ; dpo et kto apprennent aussi de "
        "préférences."
    ),
    "training.quantization_unknown": Text(
        "Il n'y a pas de type GGUF {type!r}.",
        "{suggestion} Types connus : {known}.",
    ),
    "training.extra_is_option": Text(
        "extra.{name} est fixé par ce programme.", "Déclarez {option} à la place, hors de extra."
    ),
    "training.extra_of_modules": Text(
        "extra.{name} est fixé par ce programme.", "Utilisez l'option {option} des modules à la place."
    ),
    "training.extra_path_missing": Text(
        "extra.{name} nomme {path}, qui n'existe pas sur cet hôte.", "Mettez-le là, ou corrigez le chemin."
    ),
    "training.extra_file_changed": Text(
        "Ce que nomme extra.{name} a changé depuis que l'entraînement a été planifié : {path}.",
        "Appliquez la déclaration à nouveau, ce qui planifie un entraînement avec le nouveau contenu.",
    ),
    "training.extra_managed": Text("extra.{name} est fixé par ce programme.", "Retirez-le."),
    "training.option_missing": "{option} manque.",
    "training.option_of_other_method": Text(
        "{option} est sans effet avec la méthode {method}.",
        "Déclarez method: {methods:join| ou }, ou retirez {option}.",
    ),
    "training.option_idle_with_auto": Text(
        "{option} est sans effet : method: auto est {method} sur cet hôte.",
        "Déclarez method: {methods:join|, | ou }, ou retirez {option}.",
    ),
    "training.option_of_other_value": Text(
        "{option} est sans effet avec {other}: {value}.",
        "Déclarez {other}: {allowed:join|, | ou }, ou retirez {option}.",
    ),
    "training.option_requires": Text(
        "{option} est sans effet sans {other}.",
        "Déclarez {other}, ou retirez {option}.",
    ),
    "training.held_out_twice": Text(
        "held_out vaut {other:g}, et evaluation met de côté {share:g}.",
        "Déclarez-le une seule fois, dans evaluation.",
    ),
    "training.option_of_other_stage": Text(
        "{option} est sans effet avec le stage {stage}.",
        "Déclarez stage: {stages:join| ou }, ou retirez {option}.",
    ),
    "training.learning_rate_of_sft": (
        "learning_rate {learning_rate:g} convient à sft ; pour {stage}, {usual:g} est habituel."
    ),
    "training.batches_not_divisible": Text(
        "gradient_accumulation {gradient_accumulation} ne se divise pas entre gpus: {gpus}, et un pas "
        "d'optimisation n'aurait pas le même nombre de lignes.",
        "Déclarez un multiple de {gpus} comme gradient_accumulation, par exemple {nearest}.",
    ),
    "training.refused": Text("LLaMA-Factory refuse ces arguments : {reason}", "{advice}"),
    "training.validation_needed": (
        "Déclarez validation_share : il n'y a pas de lignes pour évaluer. Ou retirez : {names}."
    ),
    "training.package_needed": (
        "Installez ce paquet dans l'environnement de LLaMA-Factory, ou retirez d'extra ce qui en a besoin : {names}."
    ),
    "training.change_extra": "Changez ou retirez d'extra : {names}.",
    "training.modules_missing": Text(
        "Le modèle de base n'a pas de modules {names:quoted} qui puissent être entraînés ainsi.",
        "Ses modules linéaires sont : {modules}. lora_target: all les désigne tous.",
    ),
    "training.modules_not_checked": (
        "La présence des modules {names} dans le modèle de base ne sera vérifiée que lorsqu'il sera sur cette machine."
    ),
    "training.not_checked": ("{names} : pas vérifié, car LLaMA-Factory n'est pas installé ici ou ne répond pas."),
    "training.few_steps": Text(
        "L'entraînement fait environ {steps} {steps:pas|pas} d'optimisation ({rows} {rows:ligne|lignes}, "
        "{rows_per_step} par pas, {epochs:g} {epochs:époque|époques}) : c'est peu pour apprendre.",
        "{advice}",
    ),
    "training.raise_max_steps": "Augmentez extra.max_steps.",
    "training.raise_epochs": "epochs: {epochs} donne au moins {steps} pas ; ajouter des lignes est préférable.",
    "training.raise_epochs_or_smaller_steps": (
        "epochs: {epochs} donne au moins {steps} pas, de même qu'un gradient_accumulation ou un batch_size plus bas "
        "avec moins d'époques ; ajouter des lignes est préférable."
    ),
    "training.warmup_left_out": (
        "Il n'y a pas de montée en charge : warmup_ratio {warmup_ratio:g} prendrait une trop grande part des {steps} "
        "pas, et le premier pas d'une montée en charge a le taux d'apprentissage 0."
    ),
    "training.loss_did_not_fall": Text(
        "La perte n'a pas baissé : {first:.4g} dans le premier tiers des {steps} pas, et {last:.4g} dans le dernier "
        "tiers.",
        "{advice}",
    ),
    "training.lower_learning_rate": "Baissez learning_rate, par exemple à {learning_rate:g}.",
    "training.raise_learning_rate": "Augmentez learning_rate, par exemple à {learning_rate:g}.",
    "training.train_longer": "Augmentez epochs ou baissez gradient_accumulation, pour qu'il y ait plus de pas.",
    "training.loss_is_zero": Text(
        "La perte était 0 à chaque pas : rien n'a été appris.",
        "Augmentez cutoff_len si les réponses sont coupées, et déclarez precision: bf16 ou fp32 si c'est fp16.",
    ),
    "training.validation_loss_rose": Text(
        "La perte de validation est montée à {last:.4g} après sa plus basse valeur, {smallest:.4g} à l'évaluation "
        "{number} sur {count} : le modèle surapprend les lignes de l'entraînement.",
        "Baissez epochs, ou déclarez best_checkpoint: true, qui prend le point de reprise de la plus basse valeur.",
    ),
    "training.text_teaches_no_answering": (
        "L'entraînement sur du texte n'apprend pas à répondre : le modèle répond comme sa base, et une base qui "
        "n'est pas faite pour la conversation continue le texte."
    ),
}
