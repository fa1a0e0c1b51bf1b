# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages: rendering in both languages, storing and reading, what older versions stored."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, as_error
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages import catalogue
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.formatting import (
    format_size,
    format_text,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.text import Text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.sets(st.text())
    ),
    max_leaves=8,
)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of this test, in both languages."""
    monkeypatch.setattr(catalogue, "_added", {})
    catalogue.add(
        "en",
        {
            "test.rows": "{rows} {rows:row|rows} of {name!r}.",
            "test.outer": Text("{name}: {problem}", "{problem.hint} Then run again."),
            "test.inner": Text("There is no {what}.", "Use {others:join| or }."),
            "test.all": "{problems!s:join|; }",
            "test.list": "{names} and {names:quoted}",
            "test.english": "English only, {size:bytes}.",
        },
    )
    catalogue.add(
        "fr",
        {
            "test.rows": "{rows} {rows:ligne|lignes} de {name}.",
            "test.outer": Text("{name} : {problem}", "{problem.hint} Puis relancez."),
            "test.inner": Text("Il n'y a pas de {what}.", "Utilisez {others:join| ou }."),
        },
    )


@pytest.mark.usefixtures("texts")
@pytest.mark.parametrize(
    ("rows", "english", "french"),
    [
        (0, "0 rows of 'a'.", "0 ligne de a."),
        (1, "1 row of 'a'.", "1 ligne de a."),
        (2, "2 rows of 'a'.", "2 lignes de a."),
    ],
)
def test_numbers_choose_the_word(rows: int, english: str, french: str) -> None:
    message = Message("test.rows", rows=rows, name="a")
    assert (str(message), str(message.render("fr"))) == (english, french)


@pytest.mark.usefixtures("texts")
def test_a_message_in_a_message_has_the_same_language() -> None:
    inner = Message("test.inner", what="tap", others=["a", "b"])
    outer = Message("test.outer", name="x", problem=inner)
    assert outer.render() == ("x: There is no tap.", "Use a or b. Then run again.")
    assert outer.render("fr") == ("x : Il n'y a pas de tap.", "Utilisez a ou b. Puis relancez.")
    everything = Message("test.all", problems=[inner, inner])
    assert str(everything) == "There is no tap. Use a or b.; There is no tap. Use a or b."


@pytest.mark.usefixtures("texts")
def test_lists_are_joined_or_quoted() -> None:
    assert str(Message("test.list", names=("a", "b"))) == "a, b and 'a', 'b'"


@pytest.mark.usefixtures("texts")
def test_a_text_that_a_language_lacks_is_english() -> None:
    assert str(Message("test.english", size=1.79e10).render("fr")) == "English only, 17.9 GB."
    assert str(Message("test.english", size=1).render("eo")) == "English only, 0.0 MB."


@pytest.mark.parametrize(
    ("size", "english", "french"),
    [(17.9e9, "17.9 GB", "17,9 Go"), (12e6, "12 MB", "12 Mo"), (4e5, "0.4 MB", "0,4 Mo")],
)
def test_sizes(size: float, english: str, french: str) -> None:
    assert (format_size(size), format_size(size, "fr")) == (english, french)


def test_measured_numbers_have_a_decimal_comma_in_french() -> None:
    """A value of an option is as an inventory has it."""
    text = Text("{loss:.4g} ± {margin:.1f}, {difference:+.1f}; epochs: {epochs:g}, learning_rate {rate}")
    values = {"loss": 0.51234, "margin": 8.0, "difference": -2.5, "epochs": 0.5, "rate": 0.005}
    assert format_text(text, values, "en").message == "0.5123 ± 8.0, -2.5; epochs: 0.5, learning_rate 0.005"
    assert format_text(text, values, "fr").message == "0,5123 ± 8,0, -2,5; epochs: 0.5, learning_rate 0.005"


@pytest.mark.usefixtures("texts")
def test_a_stored_message_is_read_with_the_messages_in_it() -> None:
    inner = Message("test.inner", what="tap", others=["a", "b"])
    outer = Message("test.outer", name="x", problem=inner)
    stored = json.loads(json.dumps(outer.as_dict()))
    assert stored["text"] == "x: There is no tap."
    read = Message.from_stored(stored)
    assert read == outer and read.render("fr") == outer.render("fr")


def test_what_older_versions_stored_is_its_own_text() -> None:
    assert str(Message.from_stored("disk {full}")) == "disk {full}"
    error = Message.from_stored({"message": "It failed.", "hint": "Run again.", "details": {"a": 1}})
    assert (error.text, error.hint, error.render("fr")) == ("It failed.", "Run again.", ("It failed.", "Run again."))
    assert Message.from_stored(error.as_dict()) == error


def test_a_code_of_another_version_has_the_text_it_was_stored_with() -> None:
    stored = {"code": "engine.of_the_future", "parameters": {"x": 1}, "text": "Later.", "hint": "Wait."}
    assert Message.from_stored(stored).render("fr") == ("Later.", "Wait.")
    assert str(Message("engine.of_the_future")) == "engine.of_the_future"


def test_parameters_of_another_version_leave_the_stored_text() -> None:
    stored = {"code": "artifacts.kind_unknown", "parameters": {"other": 1}, "text": "No kind of step x."}
    assert str(Message.from_stored(stored)) == "No kind of step x."


def test_a_text_names_parameters_only() -> None:
    with pytest.raises(ValueError, match="cannot name"):
        format_text(Text("{name.__class__}"), {"name": "x"}, "en")
    with pytest.raises(LookupError):
        format_text(Text("{name}"), {}, "en")


@given(st.dictionaries(st.from_regex(r"[a-z]+\Z"), VALUES, max_size=3))
def test_parameters_are_json(parameters: dict[str, t.Any]) -> None:
    message = Message("artifacts.kind_unknown", **parameters)
    stored = json.loads(json.dumps(message.as_dict(), allow_nan=False))
    assert Message.from_stored(stored) == message
    assert hash(Message.from_stored(stored)) == hash(message)


def test_an_error_carries_code_parameters_and_details() -> None:
    error = InputError("artifacts.kind_unknown", kind="bake", details={"path": "/x"})
    assert (error.code, error.parameters) == ("artifacts.kind_unknown", {"kind": "bake"})
    assert str(error) == f"{error.message} {error.hint}" and "'bake'" in error.message
    stored = as_error(error)
    assert stored["code"] == "artifacts.kind_unknown" and stored["details"] == {"path": "/x"}
    assert InputError(Message.from_stored(stored)).content == error.content


def test_a_defect_is_a_message_as_well() -> None:
    stored = as_error(KeyError("x"))
    assert stored["message"] == "KeyError: 'x'"
    assert Message.from_stored(stored).render("fr").hint.startswith("C'est un défaut")
