# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``steps``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "steps.download_unfinished": Text(
        "Le téléchargement ne s'est pas terminé.",
        "Relancez : il reprend où il s'est arrêté.",
    ),
    "steps.hub_files_incomplete": Text(
        "Les fichiers de {hub} à ce commit sont incomplets : {problem}", "{problem.hint}"
    ),
    "steps.base_changed": Text(
        "Le modèle de base dans {root} a changé depuis que l'exécution a été soumise.",
        "Appliquez de nouveau : ce qui en est fait reçoit un nouveau nom.",
    ),
    "steps.no_room_for_model": Text(
        "Pas de place pour {model} : il demande encore {missing:bytes} de disque, {free:bytes} sont libres "
        "dans {root}.",
        "Faites-y de la place et relancez : ce qui a été téléchargé est gardé. Un affinage complet demande "
        "environ cinq fois la taille de sa base.",
    ),
    "steps.changed_meanwhile": Text("{problems:join|; }.", "Un autre programme l'a modifié entre-temps : relancez."),
    "steps.kind_unknown": "Il n'y a pas d'étape {kind!r} qui s'exécute comme un travail.",
    "steps.no_room": Text(
        "{step} demande environ {needed:bytes} de disque, {free:bytes} sont libres dans {path}.",
        "Faites de la place sur ce système de fichiers et relancez : ce qui était terminé est gardé.",
    ),
    "steps.tool_moved": Text(
        "{subject} n'est pas dans {path}.", "Il a été déplacé ou supprimé : relancez pour le reconstruire."
    ),
    "steps.the_base": "Le modèle de base",
    "steps.the_training": "Le résultat de l'entraînement",
    "steps.the_dataset": "Le jeu de données",
    "steps.the_merge": "Le modèle fusionné",
    "steps.training": "L'entraînement",
    "steps.merging": "La fusion",
    "steps.converting_to": "La conversion en {quantization}",
    "steps.quantizing_to": "La quantification en {quantization}",
    "steps.converting_adapter": "La conversion de l'adaptateur",
    "steps.converting_encoder": "La conversion de l'encodeur d'images",
    "steps.comparing_files": "La comparaison des quantifications",
    "steps.registering": "L'enregistrement",
    "steps.gpu_out_of_memory": Text(
        "Le GPU n'a plus de mémoire.",
        "Diminuez batch_size (et augmentez gradient_accumulation d'autant), puis cutoff_len, puis lora_rank ; "
        "ou utilisez la méthode qlora. Les modèles qu'Ollama garde chargés prennent aussi de la mémoire du GPU.",
    ),
    "steps.tool_out_of_memory": Text(
        "La machine n'a plus de mémoire (RAM).",
        "Diminuez batch_size ou cutoff_len, fermez ce qui tourne à côté, ou ajoutez du swap. La fusion demande "
        "environ 2 Go de RAM par milliard de paramètres.",
    ),
    "steps.tool_disk_full": Text(
        "Le disque est plein.",
        "Faites de la place dans le répertoire de données et relancez : un entraînement reprend de son dernier "
        "point de reprise complet.",
    ),
    "steps.weights_gated": Text(
        "Les poids du modèle sont protégés : le hub demande un jeton dont le propriétaire a accepté la licence.",
        "Acceptez la licence sur la page du modèle et donnez son jeton à l'étape base.",
    ),
    "steps.repository_code_needed": Text(
        "Le modèle demande du code Python de son propre dépôt, qui ne peut pas être exécuté ici.",
        "Si vous faites confiance à ce dépôt, déclarez-le dans l'inventaire : extra: {{trust_remote_code: true}} ; son "
        "code est alors téléchargé. Sinon, choisissez une autre base.",
    ),
    "steps.modules_missing": Text(
        "Le modèle de base n'a pas de modules {name}.",
        "Déclarez dans lora_target des noms de ses modules linéaires, ou all.",
    ),
    "steps.validation_missing": Text(
        "Il n'y a pas de lignes pour évaluer.",
        "Déclarez validation_share, ou retirez de extra ce qui évalue.",
    ),
    "steps.attention_unknown": Text(
        "LLaMA-Factory ne connaît pas l'attention {name}.",
        "Déclarez flash_attn dans extra comme auto, disabled, sdpa ou fa2, ou retirez-le.",
    ),
    "steps.template_unknown": Text(
        "LLaMA-Factory ne connaît pas le modèle de conversation {name}.",
        "Donnez à template un nom que cette version de LLaMA-Factory connaît.",
    ),
    "steps.argument_unknown": Text(
        "LLaMA-Factory ne connaît pas {name}.",
        "Cherchez dans extra une faute de frappe, ou un argument d'une autre version.",
    ),
    "steps.bitsandbytes_missing": Text(
        "La méthode qlora demande le paquet bitsandbytes, qui n'est pas installé.",
        "Installez-le dans l'environnement virtuel de LLaMA-Factory, ou utilisez la méthode lora.",
    ),
    "steps.package_missing": Text(
        "Le paquet Python {name} n'est pas installé là où l'outil s'exécute.",
        "Retirez l'option qui en a besoin, dans extra par exemple, ou installez-le dans l'environnement ou l'image de "
        "l'outil. S'il fait partie de l'outil lui-même, relancez site.yml.",
    ),
    "steps.base_too_new": Text(
        "Le LLaMA-Factory installé ne connaît pas les modèles de type {name}.",
        "Choisissez un autre modèle de base ; une version plus récente de LLaMA-Factory connaît peut-être celui-ci.",
    ),
    "steps.configuration_torn": Text(
        "Un fichier est abîmé : {line}", "S'il fait partie du modèle de base, téléchargez celui-ci de nouveau."
    ),
    "steps.shapes_differ": Text(
        "Les poids du modèle de base n'ont pas les dimensions que donne son config.json.",
        "Téléchargez le modèle de base de nouveau. Si c'est un répertoire à vous, son config.json va avec d'autres "
        "poids.",
    ),
    "steps.no_permission": Text(
        "Un fichier ne peut pas être lu ou écrit : {line}",
        "Les travaux s'exécutent au nom du propriétaire du répertoire de données : donnez-lui accès.",
    ),
    "steps.no_bf16": Text("Cet appareil ne calcule pas en bf16.", "Donnez à precision la valeur fp16 ou fp32."),
    "steps.gpu_unusable": Text(
        "PyTorch ne peut pas utiliser ce GPU : {line}",
        "Le pilote, le GPU et la version installée de PyTorch ne vont pas ensemble.",
    ),
    "steps.dataset_unusable": Text(
        "LLaMA-Factory n'a pas pu utiliser le jeu de données : {line}",
        "Refaites le jeu de données avec le module dataset.",
    ),
    "steps.file_torn": Text(
        "Un fichier de poids ou de point de reprise est incomplet : {line}",
        "Appliquez de nouveau : les points de reprise abîmés sont mis de côté. Si c'est le modèle de base, "
        "téléchargez-le de nouveau.",
    ),
    "steps.tokenizer_unknown": Text(
        "Le convertisseur ne connaît pas le tokenizer du modèle : {line}",
        "Le llama.cpp installé prend-il en charge ce modèle de base ? Ses fichiers de tokenizer ont-ils été remis "
        "après la fusion ?",
    ),
    "steps.architecture_unknown": Text(
        "Le convertisseur du llama.cpp installé ne connaît pas l'architecture {name}.",
        "Installez un llama.cpp plus récent, ou choisissez un autre modèle de base.",
    ),
    "steps.file_missing": Text(
        "Un fichier manque : {line}", "Le répertoire du modèle de base est-il complet ? Téléchargez-le de nouveau."
    ),
    "steps.process_killed": Text(
        "Un processus de l'entraînement a été tué par le signal {name}.",
        "Le noyau le fait quand la mémoire manque ; sinon, un autre processus l'a fait. Appliquez de nouveau.",
    ),
    "steps.nothing_written": Text("Il n'a rien écrit.", "Le journal complet est dans le répertoire de la tentative."),
    "steps.last_line": Text("{line}", "Le journal complet est dans le répertoire de la tentative."),
    "steps.no_output": Text("aucune sortie", "Le journal complet est dans le répertoire de la tentative."),
    "steps.code_not_fetched": "le code du dépôt est déclaré et n'a pas été téléchargé : {files}",
    "steps.prompt_verified_elsewhere": "son invite a été vérifiée sur Ollama {before}, et c'est ici Ollama {now}",
    "steps.verifying_prompt": "vérification de l'invite",
    "steps.bos_unwanted": (
        "Le fichier GGUF met {token} devant chaque invite, ce que l'entraînement avec le modèle de conversation "
        "« {template} » ne faisait pas : mettez-y tokenizer.ggml.add_bos_token à false."
    ),
    "steps.imatrix_needed": Text(
        "Une quantification d'aussi peu de bits demande une matrice d'importance.",
        "Déclarez imatrix: dataset, ou un type qui ne demande pas de matrice (q2_K et plus).",
    ),
    "steps.gguf_torn": Text(
        "Un fichier GGUF est abîmé : {line}", "Supprimez son répertoire et appliquez de nouveau : il est refait."
    ),
    "steps.imatrix_incomplete": Text(
        "La matrice d'importance n'a pas {name} : aucune ligne d'entraînement n'a utilisé ces poids, ce dont un type "
        "d'aussi peu de bits a besoin.",
        "Ajoutez des lignes au jeu de données, ou déclarez un type qui se passe de matrice (q2_K et au-dessus).",
    ),
    "steps.image_without_llamafactory": Text(
        "L'image de llama.cpp n'a pas LLaMA-Factory, qui met les lignes en forme.",
        "Utilisez l'image que le rôle llamafactory construit (images/llama-cpp).",
    ),
    "steps.too_few_tokens": Text(
        "Les lignes ont {name} jetons en tout, trop peu pour mesurer quoi que ce soit.",
        "Ajoutez des lignes au jeu de données : il en faut au moins 256 jetons.",
    ),
    "steps.text_too_short": Text(
        "Les lignes ont {tokens} jetons en tout, et il en faut {minimum}.", "Ajoutez des lignes au jeu de données."
    ),
    "steps.rows_not_rendered": Text("Les lignes n'ont pas été mises en forme.", "Voyez le journal du travail."),
    "steps.no_imatrix_written": Text(
        "llama-imatrix s'est terminé sans écrire de matrice d'importance.", "Voyez le journal du travail."
    ),
    "steps.weighing": "pesée des poids",
    "steps.not_compared": Text(
        "llama-perplexity n'a pas donné les chiffres de {name}.", "Voyez le journal du travail."
    ),
    "steps.comparing_quantizations": "comparaison des quantifications",
    "steps.no_training_receipt": Text("Le reçu de l'entraînement manque.", "Appliquez de nouveau l'affinage."),
    "steps.training_receipt_missing": "le reçu de l'entraînement manque",
    "steps.probes_not_rendered": "LLaMA-Factory n'a pas pu les rendre ici : {reason!s}",
    "steps.llamafactory_in_image": "il n'est installé que dans une image",
    "steps.probe_unknown": "cette version de la collection ne la connaît pas",
    "steps.probe_not_rendered": "LLaMA-Factory ne peut pas la rendre : {reason}",
    "steps.own_system_prompt": "le modèle est enregistré avec une invite système qui lui est propre",
    "steps.gate_shut": Text(
        "La porte de qualité est fermée : {summary} {consequence}\n{failures:join|\n}",
        "Améliorez les invites ou l'entraînement, ou changez la porte : seules ses nouvelles questions sont alors "
        "posées.",
    ),
    "steps.file_missing_after_download": Text("{file} manque après le téléchargement.", "Relancez."),
    "steps.file_damaged_after_download": Text(
        "{file} est abîmé après le téléchargement.", "Relancez : il est téléchargé de nouveau."
    ),
    "steps.merged_incomplete_again": Text("Le modèle fusionné est incomplet : {problem}", "Fusionnez-le de nouveau."),
    "steps.no_merged_weights": Text("Il n'y a pas de poids dans {merged}.", "Fusionnez-le de nouveau."),
    "steps.no_gguf_written": Text("L'outil s'est terminé sans écrire de fichier GGUF.", "Voyez le journal du travail."),
    "steps.gguf_incomplete": Text("Le fichier GGUF est incomplet : {problem}", "{problem.hint}"),
    "steps.gguf_parameters": Text(
        "Le fichier GGUF contient {parameters} paramètres, le modèle fusionné {expected}.",
        "Le llama.cpp installé ne prend peut-être pas ce modèle en charge.",
    ),
    "steps.tokenizers_not_compared": Text("Les tokenizers n'ont pas été comparés.", "Voyez le journal du travail."),
    "steps.tokenizer_differs": Text(
        "Le tokenizer du fichier GGUF diffère de celui de la base sur {count} textes, comme {text!r} : {trained} à "
        "l'entraînement, {served} une fois servi.",
        "Le modèle répondrait moins bien qu'il n'a été entraîné, sans que rien ne le dise. Les fichiers du tokenizer "
        "de la base sont-ils complets (dont tokenizer.model), et le llama.cpp installé connaît-il ce tokenizer ?",
    ),
    "steps.quantized_tensors": Text(
        "Le fichier quantifié contient {count} tenseurs, celui dont il est fait {expected}.", "Appliquez de nouveau."
    ),
    "steps.quantized_size": "Le fichier quantifié a {bytes} octets, celui de 16 bits {source_bytes}.",
    "steps.no_adapter": Text(
        "Il n'y a pas d'adaptateur dans {directory}.", "Seules les méthodes lora et qlora en font un."
    ),
    "steps.no_adapter_written": Text(
        "Le convertisseur s'est terminé sans écrire de fichier GGUF.", "Voyez le journal du travail."
    ),
    "steps.adapter_tensors": Text(
        "Le fichier GGUF contient {count} tenseurs d'un adaptateur, le résultat de l'entraînement {expected}.",
        "Le llama.cpp installé ne prend peut-être pas en charge les adaptateurs de ce modèle : utilisez "
        "export: merged.",
    ),
    "steps.merged_incomplete": Text("Le modèle fusionné est incomplet : {problem}", "Appliquez de nouveau."),
    "steps.export_unfinished": Text("L'export ne s'est pas terminé.", "Voyez le journal du travail."),
    "steps.tensors_lost": Text(
        "Il manque au modèle fusionné {count} tenseurs de la base, comme {tensor}.",
        "Le transformers installé ne sait peut-être pas écrire ce modèle.",
    ),
    "steps.merged_no_numbers": Text(
        "Les poids fusionnés contiennent des valeurs qui ne sont pas des nombres ({tensor}).",
        "La base ou l'adaptateur est abîmé, ou les valeurs sont trop grandes pour float16.",
    ),
    "steps.gate_interrupted": Text("L'épreuve n'a pas été posée jusqu'au bout.", "Appliquez de nouveau."),
    "steps.evaluation_interrupted": Text(
        "L'évaluation n'est pas allée à son terme.", "Appliquez de nouveau : les réponses obtenues sont gardées."
    ),
    "steps.evaluation_gone": Text("Le rapport de l'évaluation n'est plus dans {directory}.", "Appliquez de nouveau."),
    "steps.evaluated_other_candidate": (
        "{quantization} a été enregistré de nouveau et est un autre modèle que celui qui a été interrogé"
    ),
    "steps.evaluated_other_served": "{alias} est un autre modèle que celui qui a été comparé",
    "steps.asking_model": "interroge {model}",
    "steps.requirements_unmet": Text(
        "L'évaluation n'est pas réussie : {lacking:join| } {summary} {consequence}\n{failures:join|\n}",
        "Améliorez les invites ou l'entraînement, ou exigez moins : rien n'est alors demandé de nouveau.",
    ),
    "steps.alias_stays": "{alias} reste tel quel.",
    "steps.nothing_served": "Rien n'est servi sous {alias}.",
    "steps.surplus": "{description}",
    "steps.files_changed": "les fichiers dans {directory} ont changé",
    "steps.prompt_not_verified": Text("L'invite de {tag} n'a pas été vérifiée.", "Appliquez de nouveau."),
    "steps.hold_not_replaced": Text(
        "{tag} est encore maintenu, et {replacement} ne l'est pas.", "Appliquez de nouveau."
    ),
    "steps.never_registered": "il n'a jamais été enregistré",
    "steps.no_encoder": Text(
        "Les poids dans {directory} n'ont pas d'encodeur d'images : aucun tenseur n'a un nom qui commence par "
        "{prefixes}.",
        "Comparez ces fichiers à ceux du hub : il en manque peut-être un.",
    ),
    "steps.encoder_unknown": Text(
        "L'encodeur d'images de l'architecture {architecture!r} n'est pas connu.", "Sont connus : {known}."
    ),
    "steps.no_projector_written": Text(
        "Le convertisseur de llama.cpp s'est terminé sans écrire l'encodeur d'images.",
        "Son journal en donne la raison.",
    ),
    "steps.projector_parameters": Text(
        "L'encodeur d'images converti a {parameters} paramètres, et celui de la base en a {expected}.",
        "Le convertisseur en a omis une partie. Utilisez la version de llama.cpp que cette collection installe.",
    ),
    "steps.server_without_vision": Text(
        "Ollama {version} à {url} a accepté l'encodeur d'images de {tag}, mais ne s'en sert pas.",
        "Aucune étiquette n'a été déplacée. Utilisez une version plus récente d'Ollama.",
    ),
    "steps.registered_with_other": "{tag} a d'autres {properties:join| et }",
    "steps.quantizing": "quantification",
    "steps.converting": "conversion",
    "steps.comparing_tokens": "comparaison des jetons",
    "steps.uploading": "envoi",
    "steps.promoting": "promotion",
    "steps.hashing": "calcul de l'empreinte",
    "steps.status_of_ollama": "{status}",
    "steps.loading": "chargement",
    "steps.writing": "écriture",
    "steps.training_diverged": Text(
        "L'entraînement a divergé : {file} contient des valeurs qui ne sont pas des nombres ({tensor}).",
        "Diminuez learning_rate (au dixième), ou augmentez warmup_ratio.",
    ),
    "steps.adapter_untrained": Text(
        "L'adaptateur entraîné ne change rien : après {steps} pas, toutes ses matrices B sont encore nulles.",
        "Augmentez epochs ou ajoutez des lignes, pour qu'il y ait plus de pas ; baissez warmup_ratio ; ou augmentez "
        "learning_rate.",
    ),
    "steps.too_few_gpus": Text(
        "L'entraînement a besoin de {wanted} GPU, et {there} {there:peut|peuvent} être {there:utilisé|utilisés}.",
        "Vérifiez que nvidia-smi les voit tous, et que ni CUDA_VISIBLE_DEVICES ni gpus des conteneurs n'en exclut un.",
    ),
    "steps.dataset_incomplete": "Le jeu de données dans {directory} est incomplet : {problem}",
    "steps.dataset_entries": "dataset_info.json dans {directory} doit avoir une entrée, et non {count}.",
    "steps.model_unusable": Text(
        "{tag} ne peut pas être utilisé dans Ollama à {url} : {reason}.",
        "Aucune étiquette n'a été déplacée. {problem.hint}",
    ),
    "steps.prompt_not_proven": Text(
        "Ollama à {url} ne donne pas à {tag} l'invite avec laquelle il a été entraîné. {difference}",
        "Aucune étiquette n'a été déplacée. Cette version d'Ollama est-elle prise en charge, et le fichier "
        "GGUF vient-il de cet entraînement ?",
    ),
    "steps.nodes_restart": (
        "Il reprend depuis le début : sur un CPU, plusieurs processus ne peuvent pas repartir d'un point de reprise."
    ),
    "steps.nodes_resume": "Il reprend au dernier point de reprise que tous les nœuds possèdent.",
    "steps.no_eos_token": (
        "{path} ne nomme pas de jeton de fin (EOS), par lequel les réponses se terminent dans le modèle de "
        "conversation {template}."
    ),
    "steps.file_changed": Text(
        "{path} n'est pas le fichier que son reçu décrit : quelque chose l'a modifié.",
        "Supprimez son répertoire et relancez.",
    ),
    "steps.file_type_differs": Text("{path} est {actual}, et non {expected} comme son nom le dit.", "Refaites-le."),
    "steps.tag_missing": Text("{tag} n'est pas dans Ollama à {url}.", "Son journal en dit plus ; relancez."),
    "steps.registered_differently": Text(
        "{tag} a d'autres {properties} que ceux de sa création.", "Voyez le journal d'Ollama."
    ),
    "steps.no_result_saved": Text(
        "L'entraînement s'est terminé sans enregistrer de résultat.",
        "Il a peut-être été arrêté avant son premier pas ; voyez le journal du travail.",
    ),
    "steps.training_stopped": Text(
        "L'entraînement a été arrêté au pas {current} sur {total} ; son point de reprise est gardé.",
        "Appliquez de nouveau pour en repartir.",
    ),
    "steps.result_incomplete": Text(
        "L'entraînement a fait tous ses pas, mais son résultat est incomplet.",
        "Vérifiez si le disque est plein et appliquez de nouveau : il repart de son dernier point de reprise.",
    ),
    "steps.no_best_checkpoint": Text(
        "L'entraînement n'a pas de meilleur point de reprise : aucune perte de validation n'était un nombre, ou le "
        "point de reprise a été supprimé.",
        "Réduisez learning_rate (à un dixième), ou omettez best_checkpoint.",
    ),
}
