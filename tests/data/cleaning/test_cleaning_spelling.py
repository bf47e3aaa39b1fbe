from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmarket.data.cleaning.rules import extend_lexicon
from seqmarket.data.cleaning.settings import Cap, MergeSpellings
from seqmarket.data.cleaning.spelling import normal_form


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("email", "email"),
        (" E-Mail\t", "e_mail"),
        ("e mail", "e_mail"),
        ("E\u2011MAIL", "e_mail"),  # a non-breaking hyphen
        ("e \u2013 mail", "e_mail"),  # a dash between spaces
        ("E__Mail_", "e_mail"),
        ("e\u00a0mail", "e_mail"),  # a no-break space
        ("\ufeffe\u200b-mail", "e_mail"),  # a byte order mark and a zero-width space
        ("\uff45\uff0dmail", "e_mail"),  # full-width letters
        ("Stra\u00dfe", "strasse"),
        ("CAFE\u0301", "caf\u00e9"),
        ("google/cpc", "google/cpc"),
        ("\u0435mail", "\u0435mail"),  # a Cyrillic letter is another letter
        ("--", "--"),
    ],
)
def test_normal_forms(text: str, form: str) -> None:
    assert normal_form(text) == form


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=8))
def test_a_normal_form_is_its_own(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)


def test_a_normal_form_is_its_own_for_every_letter() -> None:
    letters = map(chr, range(sys.maxunicode + 1))
    # The others neither fold nor decompose; all 1.1 million would take seconds.
    odd = (letter for letter in letters if not unicodedata.is_normalized("NFD", letter.casefold()))
    wrong = [hex(ord(x)) for x in odd if normal_form(normal_form(x)) != normal_form(x)]
    assert wrong == []


def test_the_explicit_spellings_come_before_the_normal_form() -> None:
    rule = MergeSpellings(into={"E-mail": ("Mailing", "mail")}, normalise=True)
    texts = ("E-mail", "e mail", "Mailing", "MAILING", "mail", "Web Site", "web_site", "sms")
    assert rule.targets(texts) == {
        "e mail": "E-mail",
        "Mailing": "E-mail",
        "MAILING": "E-mail",
        "mail": "E-mail",
        "Web Site": "web_site",
    }


def test_without_normalise_only_the_explicit_spellings_change() -> None:
    rule = MergeSpellings(into={"email": ("Email",)})
    assert rule.targets(("Email", "EMAIL", "email", "web")) == {"Email": "email"}


def test_the_lexicon_gets_the_targets_that_are_reached_and_stays_sorted() -> None:
    lexicon = {"channel": ("EMAIL", "Web", "sms"), "device": ("B", "a")}
    rules = (
        MergeSpellings(into={"web": ("Web",), "post": ("Post",)}),
        Cap(column="value", at=1),
        MergeSpellings(into={"www": ("web",)}),  # reads what the first rule has made
        MergeSpellings(column="device", normalise=True),
    )
    assert extend_lexicon(lexicon, rules) == {
        "channel": ("EMAIL", "Web", "sms", "web", "www"),
        "device": ("B", "a", "b"),
    }
    assert lexicon == {"channel": ("EMAIL", "Web", "sms"), "device": ("B", "a")}
