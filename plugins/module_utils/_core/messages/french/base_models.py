# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``base_models``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "base_models.hub_name_unknown": Text(
        "{endpoint} est injoignable : son nom n'est pas connu ici.",
        "Cette machine est-elle en ligne ? Un proxy se donne par https_proxy, un miroir du hub par HF_ENDPOINT.",
    ),
    "base_models.hub_refuses_connection": Text(
        "{endpoint} est injoignable : connexion refusée.",
        "Cette machine est-elle en ligne ? Un proxy se donne par https_proxy, un miroir du hub par HF_ENDPOINT.",
    ),
    "base_models.hub_unreachable": Text(
        "{endpoint} est injoignable : {reason}.",
        "Cette machine est-elle en ligne ? Un proxy se donne par https_proxy, un miroir du hub par HF_ENDPOINT.",
    ),
    "base_models.model_not_on_hub": Text(
        "Il n'y a pas de modèle {model} sur {endpoint}.",
        "{suggestion} Vérifiez son nom là-bas. {about_token}",
    ),
    "base_models.no_directory": Text(
        "Le modèle de base {root} n'est pas un répertoire de cette machine.",
        "Mettez-y les fichiers du modèle, ou déclarez un nom de la bibliothèque d'Ollama ou un identifiant du hub.",
    ),
    "base_models.not_named": Text("Aucun modèle de base n'est nommé.", "{suggestion}"),
    "base_models.relative_path": Text(
        "Le modèle de base « {declared} » est un chemin relatif.",
        "Donnez le répertoire par un chemin absolu.",
    ),
    "base_models.not_in_catalogue": Text(
        "Il n'y a pas de modèle de base « {declared} » dans le catalogue.",
        "{suggestion}",
    ),
    "base_models.no_hub_id": Text(
        "« {declared} » n'est pas un identifiant de Hugging Face (organisation/nom).",
        "{suggestion}",
    ),
    "base_models.template_unknown": Text(
        "Le modèle de conversation de {model} est inconnu : il n'est ni dans le catalogue, ni parmi les modèles que "
        "nomme LLaMA-Factory.",
        "Déclarez template : le format avec lequel il a été entraîné. Ceux-ci peuvent être servis tels qu'ils sont "
        "entraînés : {known}. Le catalogue contient {families}.",
    ),
    "base_models.cannot_be_trained": Text("{model} ne peut pas servir de base : {problem}", "{problem.hint}"),
    "base_models.tools_missing": "LLaMA-Factory n'est pas installé dans un environnement virtuel de cette machine",
    "base_models.checked_when_applied": "ses fichiers sont vérifiés quand il est appliqué",
    "base_models.hub_silent": "le hub ne répond pas",
    "base_models.quantized_with": Text(
        "Ses poids sont quantifiés par {method}, et ne peuvent être ni entraînés ni fusionnés.",
        "Nommez les poids en 16 bits dont il est issu ; pour entraîner en 4 bits, prenez method: qlora avec ceux-ci.",
    ),
    "base_models.architecture_unknown": Text(
        "Le LLaMA-Factory installé ne connaît pas son architecture « {architecture} ».",
        "Prenez un modèle du catalogue, ou une version de LLaMA-Factory qui la connaît.",
    ),
    "base_models.architecture_needs_code": Text(
        "Le LLaMA-Factory installé ne connaît pas son architecture « {architecture} » ; seul du code du dépôt du "
        "modèle la connaît.",
        "Lisez ce code, et déclarez extra: {{trust_remote_code: true}} si vous lui faites confiance.",
    ),
    "base_models.architecture_without_attention": Text(
        "Le LLaMA-Factory installé n'entraîne « {architecture} » qu'avec une attention que le transformers installé ne "
        "sait pas charger.",
        "Prenez un autre modèle, ou un LLaMA-Factory et un transformers qui vont ensemble pour lui.",
    ),
    "base_models.architecture_not_converted": Text(
        "Le convertisseur de llama.cpp installé ne connaît pas son architecture « {architecture} » : Ollama ne peut "
        "pas le servir.",
        "Prenez un modèle du catalogue, un llama.cpp plus récent, ou entraînez-le sans modèle (register: false).",
    ),
    "base_models.no_tokenizer": Text(
        "Il n'a pas de tokenizer (aucun de {files:join|, | et }).",
        "Mettez à côté de ses poids le tokenizer du modèle dont il est issu.",
    ),
    "base_models.no_processor": Text(
        "LLaMA-Factory a besoin d'un processeur d'images pour le modèle de conversation {template}, et il n'y en a pas "
        "(ni {files:join|, | ni }).",
        "Déclarez un modèle de conversation sans images, ou prenez une base qui en a un.",
    ),
    "base_models.tokens_missing": Text(
        "{tokens:quoted} du modèle de conversation {template} ne sont pas des jetons de son vocabulaire : il "
        "n'apprendrait pas où finit une réponse.",
        "Déclarez le modèle de conversation avec lequel il a été entraîné.",
    ),
    "base_models.pre_tokenizer_unknown": Text(
        "Le convertisseur de llama.cpp installé ne reconnaît pas son pré-tokenizer : Ollama ne peut pas le servir.",
        "Prenez un modèle dont le tokenizer n'a pas été changé, ou un llama.cpp plus récent.",
    ),
    "base_models.tokenizer_not_inspected": (
        "Le tokenizer de la base n'a pas pu être examiné : il n'a pas été vérifié."
    ),
    "base_models.stop_words_missing": (
        "{tokens:quoted} du modèle de conversation {template} ne sont pas dans le vocabulaire de la base : "
        "LLaMA-Factory les ajoute, et la base doit les apprendre par vos lignes."
    ),
    "base_models.media_in_text": Text(
        "La ligne {row} du jeu de données {dataset} contient le texte {marker}, pour lequel LLaMA-Factory attend une "
        "image, une vidéo ou un son avec le modèle de conversation {template}.",
        "Écrivez-le autrement, ou déclarez un modèle de conversation pour du texte seul.",
    ),
    "base_models.learns_chat": (
        "La base n'a pas de modèle de conversation : vos lignes seules lui apprennent à répondre, et le format de "
        "{template}."
    ),
    "base_models.chat_differs": (
        "Le modèle de conversation de la base écrit {own!r} là où {template} écrit {ours!r} : le modèle apprend "
        "le second."
    ),
    "base_models.tools_differ": (
        "Le modèle de conversation de la base décrit les outils autrement que {template} : le modèle doit "
        "réapprendre à s'en servir, par des lignes avec des outils."
    ),
    "base_models.without_chat": Text(
        "{model} n'a pas de modèle de conversation : c'est une base sans conversation.",
        "Déclarez template : le format dans lequel l'entraîner, un de {known} ; ou prenez un modèle du catalogue "
        "({families}).",
    ),
    "base_models.private_needs_token": "S'il est privé, il faut un jeton (token_file).",
    "base_models.forms_of_names": (
        "Donnez un nom à la manière d'Ollama (qwen2.5:7b), un identifiant de Hugging Face (organisation/nom) ou un "
        "répertoire absolu."
    ),
}
