# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``ollama``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "ollama.version_unknown": (
        "Ollama à {url} annonce la version {version!r}, qui est inconnue : {minimum} ou plus récent est nécessaire."
    ),
    "ollama.version_too_old_for_base": Text(
        "Ollama à {url} a la version {version}, qui n'exécute pas les modèles d'architecture {architecture} : "
        "{minimum} ou plus récent est nécessaire.",
        "Mettez-le à jour (le rôle ollama le fait pour un serveur qu'il gère), donnez l'URL d'un autre, ou choisissez "
        "un autre modèle de base.",
    ),
    "ollama.version_too_old": Text(
        "Ollama à {url} a la version {version}, trop ancienne : {minimum} ou plus récent est nécessaire.",
        "Mettez-le à jour (le rôle ollama le fait pour un serveur qu'il gère), ou donnez l'URL d'un autre.",
    ),
    "ollama.no_server": Text(
        "Aucun serveur Ollama ne répond à {url}.",
        "Démarrez-le (« systemctl start ollama », ou « ollama serve »), ou dites où est celui qui tourne.",
    ),
    "ollama.name_invalid": Text(
        "{name!r} ne peut pas être le nom d'un modèle dans Ollama.",
        "Modèle et étiquette : 1 à 80 lettres, chiffres, « _ », « - » et « . », le premier une lettre, un chiffre ou "
        "« _ ».",
    ),
    "ollama.tag_reserved": Text(
        "{name!r} ne peut pas servir : Ollama lit l'étiquette {tag!r} comme l'endroit où le modèle s'exécute.",
        "Choisissez une autre étiquette.",
    ),
    "ollama.parameter_no_list": "Le paramètre {name} doit être une liste de textes, et non {value!r}.",
    "ollama.parameter_no_boolean": "Le paramètre {name} doit être true ou false, et non {value!r}.",
    "ollama.no_parameter": Text("Ollama n'a pas de paramètre {name!r}.", "{suggestion}"),
    "ollama.known_parameters": "Il a : {names}.",
    "ollama.parameter_no_number": "Le paramètre {name} doit être un nombre, et non {value!r}.",
    "ollama.parameter_no_integer": "Le paramètre {name} doit être un nombre entier, et non {value!r}.",
    "ollama.url_invalid": Text("L'URL du serveur Ollama n'est pas valide.", "Elle ressemble à {example}."),
    "ollama.file_truncated": Text("Le fichier a raccourci pendant son envoi.", "Autre chose y écrit."),
    "ollama.create_ended": Text(
        "Ollama à {url} s'est terminé sans avoir créé {model} : {report}.",
        "Il a été arrêté, ou a manqué de mémoire ou de disque : voyez son journal et relancez.",
    ),
    "ollama.no_rendering": Text(
        "Ollama à {url} ne dit pas comment il met une invite en forme.", "La version 0.24 le fait."
    ),
    "ollama.no_json": Text(
        "{url} n'a pas répondu en JSON à une demande ({action}).",
        "Est-ce un serveur Ollama ? La réponse a pu aussi être coupée : voyez son journal et relancez.",
    ),
    "ollama.refused": Text("Ollama à {url} a refusé une demande ({action}) : {reason}.", "{advice}"),
    "ollama.last_status": "son dernier état était {status!r}",
    "ollama.no_status": "il n'a envoyé aucun état",
    "ollama.host_unknown": Text("{url} est introuvable : {reason}.", "Vérifiez le nom de la machine, et son DNS."),
    "ollama.silent": Text(
        "Ollama à {url} n'a rien envoyé pendant {seconds:g} secondes après une demande ({action}).",
        "Il charge peut-être un modèle, ou son disque est lent ou plein : voyez son journal, ou laissez-lui plus de "
        "temps.",
    ),
    "ollama.connection_ended": Text(
        "Ollama à {url} a mis fin à la connexion après une demande ({action}).",
        "Voyez son journal et relancez : ce qu'il a déjà n'est pas envoyé une seconde fois.",
    ),
    "ollama.no_http": Text("{url} ne parle pas HTTP comme Ollama ({error}).", "Est-ce un serveur Ollama ?"),
    "ollama.unreachable": Text(
        "{url} est injoignable : {reason}.",
        "Voyez son journal et relancez : ce qu'il a déjà n'est pas envoyé une seconde fois.",
    ),
    "ollama.disk_full": "Le disque des modèles d'Ollama est plein : faites-y de la place et relancez.",
    "ollama.digest_mismatch": ("Le fichier n'est pas ce que dit son reçu : quelque chose l'a modifié. Refaites-le."),
    "ollama.see_list": "« ollama list » montre ce qu'il y a.",
    "ollama.free_memory": (
        "Libérez-en (un autre modèle est peut-être chargé), ou prenez une quantification plus petite."
    ),
    "ollama.gguf_damaged": "Le fichier GGUF est abîmé ou n'est pas un modèle : refaites-le.",
    "ollama.credentials": "Le serveur, ou un proxy devant lui, demande un identifiant et un mot de passe.",
    "ollama.see_log": "Son journal en dit plus.",
}
