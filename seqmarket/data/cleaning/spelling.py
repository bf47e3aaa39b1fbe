"""What several spellings of the same name have in common."""

from __future__ import annotations

import re
import unicodedata

_SEPARATORS = re.compile(r"[\s_\u2010-\u2015\u2212-]+")


def normal_form(text: str) -> str:
    """The text without what spellings of one name differ in; a function of the text alone.

    Unicode compatibility caseless form (definition D146 of the Unicode standard: NFKC and case
    folding), invisible format characters removed, runs of white space, hyphens, dashes and
    underscores as one ``_``, none at the ends: ``" E-Mail"`` and ``"e mail"`` become ``e_mail``.
    Letters of different scripts that look alike stay different, and so do points and slashes
    (``google/cpc``). A text of separators alone is returned as it is.
    """
    visible = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    folded = unicodedata.normalize("NFD", visible)
    for _ in range(2):  # once is not enough where a letter decomposes into a capital
        folded = unicodedata.normalize("NFKC", folded.casefold())
    return _SEPARATORS.sub("_", folded).strip("_") or text
