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
        "entraînés : {known}. Le catalogue a {families}.",
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
