# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard set ``general``: 20 questions in French and 20 in English that a fine-tuned model must still answer.

They ask for what small models can do before a fine-tuning: arithmetic, facts, the translation of a word, JSON, a
required form. Each has one right answer, and its expectations accept the usual spellings of it, within a sentence too
(``ignore_case`` is set for all). They are written as the prompts of a gate. A change of the set changes its digest, and
with it every evaluation that asks it.
"""

from __future__ import annotations

import typing as t

#: Prompts with expectations (``releases.gate``): the first 20 in French, the last 20 in English.
QUESTIONS: tuple[dict[str, t.Any], ...] = (
    # arithmetic
    {"prompt": "Combien font 17 + 25 ? Réponds par le nombre seulement.", "regex": [r"\b42\b|quarante[- ]deux"]},
    {"prompt": "Combien font 9 fois 8 ? Réponds par le nombre seulement.", "regex": [r"\b72\b|soixante[- ]douze"]},
    {"prompt": "Combien font 100 moins 37 ? Réponds par le nombre seulement.", "regex": [r"\b63\b|soixante[- ]trois"]},
    {
        "prompt": "Un livre coûte 12 euros. Combien coûtent 3 livres, en euros ? Réponds par le nombre seulement.",
        "regex": [r"\b36\b|trente[- ]six"],
    },
    {
        "prompt": "Quel nombre est le plus grand : 0,5 ou 0,25 ? Réponds par ce nombre seulement.",
        "regex": [r"^\W*(le (nombre le )?plus grand( nombre)? est( :)?\W*)?0[.,]50?\b"],
    },
    # facts
    {"prompt": "Quelle est la capitale de l'Italie ? Réponds en un mot.", "regex": [r"\brome\b|\broma\b"]},
    {"prompt": "Combien de jours y a-t-il dans une semaine ? Réponds par un nombre.", "regex": [r"\b7\b|\bsept\b"]},
    {
        "prompt": "Quel est le symbole chimique de l'eau ? Réponds par la formule seulement.",
        "regex": [r"\bH_?\{?[2₂]\}?O\b"],
    },
    {
        "prompt": "De quelle couleur est le sang humain ? Réponds en un mot.",
        "regex": [r"\brouges?\b"],
    },
    {"prompt": "Quel mois vient juste après avril ? Réponds en un mot.", "regex": [r"\bmai\b"]},
    {"prompt": "Dans quel pays se trouve la tour Eiffel ? Réponds en un mot.", "regex": [r"\bfrance\b"]},
    # words
    {"prompt": "Traduis en anglais le mot « chien ». Réponds par ce mot seulement.", "regex": [r"\bdogs?\b"]},
    {"prompt": "Traduis en anglais le mot « maison ». Réponds par ce mot seulement.", "regex": [r"\bhouse\b|\bhome\b"]},
    {"prompt": "Quel est le contraire du mot « chaud » ? Réponds en un mot.", "regex": [r"\bfroide?\b"]},
    {"prompt": "Quel est le pluriel du mot « cheval » ? Réponds en un mot.", "regex": [r"\bchevaux\b"]},
    # forms
    {
        "prompt": "Réponds uniquement par un objet JSON qui a la clé « couleur » et la valeur « bleu ».",
        "regex": [r"\"couleur\"\s*:\s*\"bleue?\""],
    },
    {
        "prompt": "Écris les nombres de 1 à 5 sur une seule ligne, séparés par des virgules, et rien d'autre.",
        "regex": [r"\b1\s*,\s*2\s*,\s*3\s*,\s*4\s*,\s*5\b"],
    },
    {"prompt": "Réponds par oui ou par non : un poisson vit-il dans l'eau ?", "regex": [r"^\W*oui\b"]},
    {
        "prompt": "Marie a 30 ans et habite à Lyon. Dans quelle ville Marie habite-t-elle ? Réponds en un mot.",
        "regex": [r"\blyon\b"],
        "not_contains": ["30 ans"],  # repeats the question
    },
    {"prompt": "Écris le mot « bonjour » en majuscules, et rien d'autre.", "regex": [r"(?-i:\bBONJOUR\b)"]},
    # arithmetic
    {"prompt": "What is 15 + 28? Answer with the number only.", "regex": [r"\b43\b|forty[- ]three"]},
    {"prompt": "What is 7 times 6? Answer with the number only.", "regex": [r"\b42\b|forty[- ]two"]},
    {"prompt": "What is 90 minus 34? Answer with the number only.", "regex": [r"\b56\b|fifty[- ]six"]},
    {
        "prompt": "A box holds 6 eggs. How many eggs do 4 boxes hold? Answer with the number only.",
        "regex": [r"\b24\b|twenty[- ]four"],
    },
    {"prompt": "What is half of 50? Answer with the number only.", "regex": [r"\b25\b|twenty[- ]five"]},
    # facts
    {"prompt": "What is the capital of Japan? Answer in one word.", "regex": [r"\btokyo\b|\btōkyō\b"]},
    {"prompt": "How many months are there in a year? Answer with a number.", "regex": [r"\b12\b|\btwelve\b"]},
    {"prompt": "Which planet do humans live on? Answer in one word.", "regex": [r"\bearth\b"]},
    {"prompt": "What day comes right after Monday? Answer in one word.", "regex": [r"\btuesday\b"]},
    {"prompt": "On which continent is Egypt? Answer in one word.", "regex": [r"\bafrica\b"]},
    {"prompt": "How many legs does a spider have? Answer with a number.", "regex": [r"\b8\b|\beight\b"]},
    # words
    {"prompt": 'Translate the word "cat" into French. Answer with that word only.', "regex": [r"\bchat(te)?\b"]},
    {"prompt": 'Translate the word "water" into French. Answer with that word only.', "regex": [r"\beau\b"]},
    {
        "prompt": 'What is the opposite of the word "big"? Answer in one word.',
        "regex": [r"\bsmall\b|\blittle\b|\btiny\b"],
    },
    {"prompt": 'What is the plural of the word "child"? Answer in one word.', "regex": [r"\bchildren\b"]},
    # forms
    {
        "prompt": 'Answer only with a JSON object that has the key "name" and the value "Alice".',
        "regex": [r"\"name\"\s*:\s*\"Alice\""],
    },
    {
        "prompt": "Write the letters A, B, C and D on a single line, separated by hyphens, and nothing else.",
        "regex": [r"\bA\s*-\s*B\s*-\s*C\s*-\s*D\b"],
    },
    {"prompt": "Answer yes or no: is ice colder than boiling water?", "regex": [r"^\W*yes\b"]},
    {
        "prompt": "Tom is a baker and lives in Oslo. What is Tom's job? Answer in one word.",
        "regex": [r"\bbaker\b"],
        "not_contains": ["Oslo"],
    },
    {"prompt": 'Write the word "hello" in capital letters, and nothing else.', "regex": [r"(?-i:\bHELLO\b)"]},
)
