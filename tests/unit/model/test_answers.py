"""Answers: a value or why there is none, and nothing of it shown by accident."""

import pytest

from consul_ebpf.model.answers import Answers, Missing


def test_a_value_or_why_there_is_none() -> None:
    answers = Answers({"web": "secret-1", "api": Missing("no login yet", quiet=True)})
    assert answers.value("web") == "secret-1"
    assert answers.value("api") is None
    assert answers.value("gone") is None
    assert str(answers["api"]) == "no login yet"
    assert list(answers) == ["web", "api"]


def test_its_repr_shows_no_value() -> None:
    assert "secret" not in repr(Answers({"web": "secret-1"}))


def test_equal_answers_are_equal_whatever_they_were_made_from() -> None:
    source = {"web": "one"}
    answers = Answers(source)
    source["web"] = "two"
    assert answers == Answers({"web": "one"}) == {"web": "one"}
    assert answers != Answers({"web": Missing("one")})
    with pytest.raises(TypeError):
        hash(answers)
