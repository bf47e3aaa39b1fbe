"""Only customers with a consent to the purpose that stands pass."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from seqmarket.data.gate.consent import judge
from seqmarket.data.gate.gate import Gate, make_gate
from seqmarket.data.gate.reasons import ADMITTED, OTHER_PURPOSE, REASONS, UNRECORDED, WITHDRAWN
from seqmarket.data.gate.settings import IdentitySettings, PrivacySettings, Purpose
from seqmarket.errors import SeqmarketError

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
TABLE = """\
customer_id,purpose,granted_at,withdrawn_at
ann,analytics,2023-01-01,
ben,analytics,2023-01-01,2024-05-31T23:00:00Z
cleo,advertising,2023-01-01,
dan,analytics,,
eve,analytics,2024-07-01,
fay,analytics,2023-01-01,2023-02-01
fay,analytics,2023-03-01,
gus,analytics,2023-01-01,2024-07-01
hal,analytics,2023-01-01,
hal,analytics,,2023-06-01
ivy,analytics,2024-06-01T14:00:00+02:00,2024-06-01T14:00:00+02:00
"""
EXPECTED = {
    "ann": ADMITTED,
    "ben": WITHDRAWN,
    "cleo": OTHER_PURPOSE,
    "dan": ADMITTED,
    "eve": OTHER_PURPOSE,
    "fay": ADMITTED,
    "gus": ADMITTED,
    "hal": WITHDRAWN,
    "ivy": WITHDRAWN,
    "zoe": UNRECORDED,
}


def gate(
    folder: Path,
    text: str = TABLE,
    *,
    purpose: Purpose = "training",
    identity: str | None = None,
    **options: Any,
) -> Gate:
    path = folder / "consents.csv"
    path.write_text(text)
    mapping = folder / "mapping.csv"
    mapping.write_text(f"identifier,customer_id\n{identity or ''}")
    privacy = PrivacySettings.model_validate({"consent": {"path": str(path), **options}})
    return make_gate(
        IdentitySettings(path=str(mapping), conflicts="drop") if identity else None,
        privacy,
        purpose,
        now=NOW,
    )


def verdicts(gate: Gate, *names: str) -> dict[str, int]:
    ids = pl.Series("customer_id", names or list(EXPECTED), pl.String)
    admission = gate.admit(ids)
    refused = [code != ADMITTED for code in admission.reason]
    assert admission.customer_id.is_null().to_list() == refused
    return dict(zip(ids, admission.reason.tolist(), strict=True))


@pytest.mark.parametrize("purpose", ["training", "scoring"])
def test_each_customer_has_the_documented_verdict(purpose: Purpose, tmp_path: Path) -> None:
    found = gate(tmp_path, purpose=purpose)
    assert verdicts(found) == EXPECTED
    ids = pl.Series(list(EXPECTED))
    assert found.admit(ids).refused == {
        REASONS[UNRECORDED]: 1,
        REASONS[OTHER_PURPOSE]: 2,
        REASONS[WITHDRAWN]: 3,
    }
    # The rule is about the whole table, whatever is asked at once.
    assert verdicts(found, "hal", "nobody") == {"hal": WITHDRAWN, "nobody": UNRECORDED}


def test_training_and_scoring_ask_for_their_own_purpose(tmp_path: Path) -> None:
    options: dict[str, Any] = {"training_purpose": "analytics", "scoring_purpose": "advertising"}
    training = verdicts(gate(tmp_path, **options), "ann", "cleo")
    assert training == {"ann": ADMITTED, "cleo": OTHER_PURPOSE}
    scoring = gate(tmp_path, purpose="scoring", **options)
    assert verdicts(scoring, "ann", "cleo") == {"ann": OTHER_PURPOSE, "cleo": ADMITTED}


def test_only_customers_that_the_table_does_not_name_can_be_admitted(tmp_path: Path) -> None:
    found = verdicts(gate(tmp_path, missing="admit"))
    assert found == {**EXPECTED, "zoe": ADMITTED}


def test_consent_as_of_another_moment(tmp_path: Path) -> None:
    before = verdicts(gate(tmp_path, as_of="2024-05-31T22:59:59Z"))
    assert before == {**EXPECTED, "ben": ADMITTED, "ivy": OTHER_PURPOSE}
    after = verdicts(gate(tmp_path, as_of="2024-07-01"))
    assert after == {**EXPECTED, "eve": ADMITTED, "gus": WITHDRAWN}


LEDGER = """\
customer_id,purpose,at,what
ann,analytics,2023-01-01,yes
ben,analytics,2023-01-01,yes
ben,analytics,2023-05-01,no
cleo,analytics,2023-01-01,no
cleo,analytics,2023-05-01,yes
dan,analytics,2023-01-01,yes
dan,analytics,2023-01-01,no
eve,analytics,2023-01-01,yes
eve,analytics,,no
fay,analytics,2023-01-01,yes
fay,analytics,2023-05-01,
gus,analytics,,yes
"""
COLUMNS = {"granted_at": "at", "withdrawn_at": None, "status": "what"}


def test_a_ledger_of_statements(tmp_path: Path) -> None:
    found = gate(tmp_path, LEDGER, columns=COLUMNS, granted=["yes"])
    names = ("ann", "ben", "cleo", "dan", "eve", "fay", "gus")
    refused = [name for name, code in verdicts(found, *names).items() if code != ADMITTED]
    assert refused == ["ben", "dan", "eve", "fay"]


def test_a_status_without_times(tmp_path: Path) -> None:
    text = "customer_id,purpose,status\nann,analytics,granted\nben,analytics,revoked\n"
    columns = {"granted_at": None, "withdrawn_at": None, "status": "status"}
    found = verdicts(gate(tmp_path, text, columns=columns), "ann", "ben")
    assert found == {"ann": ADMITTED, "ben": WITHDRAWN}


def test_statements_of_all_identifiers_are_the_customers(tmp_path: Path) -> None:
    mapping = "cookie,ann\nphone,ben\ntablet,cleo\ntablet,eve\n"
    text = TABLE + "cookie,analytics,,2024-02-01\nphone,analytics,2024-06-01,\ntablet,analytics,,\n"
    found = gate(tmp_path, text, identity=mapping)
    names = ("ann", "cookie", "ben", "phone", "cleo", "tablet")
    admission = found.admit(pl.Series(names))
    assert admission.customer_id.to_list() == [None, None, "ben", "ben", None, None]
    # Two identifiers of one customer are one refused customer.
    assert admission.refused == {
        REASONS[WITHDRAWN]: 1,
        REASONS[OTHER_PURPOSE]: 1,
        "the identifier is mapped to several customers": 1,
    }


def test_what_cannot_be_right_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="no customer has consented to the purpose 'sale'"):
        gate(tmp_path, training_purpose="sale")
    with pytest.raises(SeqmarketError, match="no column 'withdrawn_at'") as caught:
        gate(tmp_path, TABLE.replace("withdrawn_at", "withdrawnat"))
    assert "or null if there is none" in str(caught.value.fix)
    with pytest.raises(SeqmarketError, match="which consent was withdrawn"):
        gate(tmp_path, columns={"withdrawn_at": None})
    with pytest.raises(SeqmarketError, match="'withdrawn_at' cannot be read as a time") as caught:
        gate(tmp_path, TABLE + "secret,analytics,2024-01-01,yesterday\n")
    assert str(caught.value.where).endswith(f"line {TABLE.count(chr(10)) + 1}")
    assert "secret" not in str(caught.value)
    with pytest.raises(SeqmarketError, match=r"no file at .*(.|\n)*data\.privacy\.consent\.path"):
        gate(tmp_path, path=str(tmp_path / "none.csv"))


Statement = tuple[str, str, bool, int | None, int | None]
moments = st.none() | st.integers(1, 6)
statements = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("pq"), st.booleans(), moments, moments),
    max_size=8,
)


def day(number: int | None) -> datetime | None:
    return None if number is None else datetime(2024, 1, number, tzinfo=UTC)


def frame_of(rows: list[Statement]) -> pl.DataFrame:
    time = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "customer_id": pl.Series([row[0] for row in rows], dtype=pl.String),
            "purpose": pl.Series([row[1] for row in rows], dtype=pl.String),
            "status": pl.Series([("no", "yes")[row[2]] for row in rows], dtype=pl.String),
            "granted_at": pl.Series([day(row[3]) for row in rows], dtype=time),
            "withdrawn_at": pl.Series([day(row[4]) for row in rows], dtype=time),
        }
    )


def oracle(rows: list[Statement], as_of: int) -> dict[str, int]:
    """The documented rule, in plain Python, of customers a, b, c and purpose p."""
    found = {}
    for customer in sorted({row[0] for row in rows}):
        said = []
        for who, purpose, grants, granted, withdrawn in rows:
            if who != customer or purpose != "p":
                continue
            if grants:
                said.append((granted or 0, 0))
                said += [(withdrawn, 1)] if withdrawn else []
            else:
                said.append((withdrawn or granted or as_of, 1))
        known = [one for one in said if one[0] <= as_of]
        newest = max(known, default=None)
        found[customer] = OTHER_PURPOSE if newest is None else (ADMITTED, WITHDRAWN)[newest[1]]
    return found


Judge = Callable[[pl.DataFrame, int], pl.DataFrame]


def by_rule(frame: pl.DataFrame, as_of: int) -> pl.DataFrame:
    moment = day(as_of)
    assert moment is not None
    return judge(frame, "p", as_of=moment, granted=("yes",))


def check(judge: Judge) -> None:
    @settings(
        max_examples=200,
        deadline=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=(Phase.explicit, Phase.generate),
    )
    @given(rows=statements, as_of=st.integers(1, 6))
    def agrees(rows: list[Statement], as_of: int) -> None:
        table = judge(frame_of(rows), as_of)
        assert dict(table.iter_rows()) == oracle(rows, as_of)

    agrees()


def test_the_newest_statement_counts() -> None:
    check(by_rule)


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(
            lambda frame, as_of: by_rule(
                frame.with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("withdrawn_at")),
                as_of,
            ),
            id="withdrawals are not seen",
        ),
        pytest.param(
            lambda frame, as_of: by_rule(frame.with_columns(purpose=pl.lit("p")), as_of),
            id="any purpose will do",
        ),
        pytest.param(
            lambda frame, as_of: by_rule(
                frame.unique("customer_id", keep="first", maintain_order=True), as_of
            ),
            id="the first row counts",
        ),
    ],
)
def test_mutants_are_caught(mutant: Judge) -> None:
    with pytest.raises(AssertionError):
        check(mutant)
