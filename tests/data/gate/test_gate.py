"""The gate as a whole: its order, its tables of customers, what it costs, how it is told apart."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from seqmarket.data.gate.gate import MERGED, Gate, make_gate
from seqmarket.data.gate.reasons import REASONS, TOO_OLD, WITHDRAWN
from seqmarket.data.gate.settings import IdentitySettings, PrivacySettings
from seqmarket.data.quality.gate_report import ConsentCounts, GateReport
from seqmarket.errors import SeqmarketError

NOW = datetime(2024, 6, 1, 12, 34, 56, tzinfo=UTC)
KEY = "00112233445566778899aabbccddeeff" * 2
MAPPING = ["cookie,ann", "phone,ann", "mail,ben", "web,ben", "pad,cleo"]
CONSENTS = ["ann,analytics,2023-01-01,", "ben,analytics,2023-01-01,", "cleo,analytics,,2024-01-01"]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQMARKET_PSEUDONYM_KEY", KEY)


def gate(
    folder: Path,
    *,
    mapping: Iterable[str] = MAPPING,
    consents: Iterable[str] = CONSENTS,
    hidden: bool = False,
    **retention: Any,
) -> Gate:
    folder.mkdir(exist_ok=True)
    (folder / "m.csv").write_text("\n".join(("identifier,customer_id", *mapping)))
    header = "customer_id,purpose,granted_at,withdrawn_at"
    (folder / "c.csv").write_text("\n".join((header, *consents)))
    privacy = {
        "consent": {"path": str(folder / "c.csv")},
        "pseudonyms": {"enabled": hidden},
        "retention": retention,
    }
    return make_gate(
        IdentitySettings(path=str(folder / "m.csv")),
        PrivacySettings.model_validate(privacy),
        "training",
        now=NOW,
    )


def test_without_settings_nothing_happens_and_nothing_is_copied() -> None:
    idle = make_gate(None, None, "training")
    ids = pl.Series("customer_id", ["b", "a"])
    admission = idle.admit(ids)
    assert admission.customer_id is ids
    assert (admission.reason.tolist(), admission.refused) == ([0, 0], {})
    assert idle.keeps(np.array([-1, 0])) is None
    table = ids.to_frame()
    assert idle.admit_table(table)[0] is table
    assert idle == make_gate(IdentitySettings(), PrivacySettings(), "scoring")
    assert idle.parts() == {}
    assert idle.fingerprint() == Gate().fingerprint()


def test_identity_then_consent_then_pseudonym(tmp_path: Path) -> None:
    plain, hidden = gate(tmp_path), gate(tmp_path, hidden=True)
    ids = pl.Series("customer_id", ["phone", "pad", "ben", "ann", "stranger"])
    assert plain.admit(ids).customer_id.to_list() == ["ann", None, "ben", "ann", None]
    names = hidden.admit(ids).customer_id
    assert names.is_null().to_list() == plain.admit(ids).customer_id.is_null().to_list()
    assert names[0] == names[3] == hidden.admit(pl.Series(["ann"])).customer_id[0]
    assert names[0] not in (names[2], "ann")


def test_a_table_of_customers_has_one_row_of_each(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {
            "customer_id": ["phone", "pad", "ann", "web", "mail", "stranger", "cookie"],
            "plan": list("pAaWmsc"),
        }
    )
    passes = gate(tmp_path)
    found, counts = passes.admit_table(table)
    assert found.rows() == [("ann", "a"), ("ben", "m")]
    assert counts == {MERGED: 3, REASONS[WITHDRAWN]: 1, "no consent is recorded": 1}
    assert sum(counts.values()) + len(found) == len(table)
    hidden = gate(tmp_path, hidden=True)
    expected = hidden.admit_table(table)[0]
    assert sorted(expected["plan"]) == ["a", "m"]
    assert expected["customer_id"].is_sorted()
    for seed in range(10):
        again, same = hidden.admit_table(table.sample(fraction=1, shuffle=True, seed=seed))
        assert_frame_equal(again, expected)
        assert same == counts


def test_retention_counts_from_the_start_of_the_day(tmp_path: Path) -> None:
    kept = gate(tmp_path, keep="30d")
    oldest = datetime(2024, 5, 2, tzinfo=UTC)
    at = np.array([int(oldest.timestamp()) * 1_000_000 + step for step in (-1, 0, 1)])
    inside = kept.keeps(at)
    assert inside is not None
    assert inside.tolist() == [False, True, True]
    assert kept.parts()["retention"] == "2024-05-02T00:00:00+00:00"
    assert REASONS[TOO_OLD] == "the event is older than the retention"
    past = gate(tmp_path, keep="30d", as_of="2024-05-02T06:00:00")
    expected = oldest - timedelta(days=29.75)
    assert past.oldest == int(expected.timestamp()) * 1_000_000


def test_it_survives_pickling(tmp_path: Path) -> None:
    passes = gate(tmp_path, hidden=True, keep="30d")
    again = pickle.loads(pickle.dumps(passes))
    ids = pl.Series(["phone", "pad", "ben"])
    assert again.admit(ids).customer_id.to_list() == passes.admit(ids).customer_id.to_list()
    assert again.fingerprint() == passes.fingerprint()
    assert again.oldest == passes.oldest


def test_the_fingerprint_tells_gates_apart_and_no_more(tmp_path: Path) -> None:
    base = gate(tmp_path, keep="30d").fingerprint()
    elsewhere = gate(
        tmp_path / "x", mapping=MAPPING[::-1], consents=[*CONSENTS[::-1], CONSENTS[0]], keep="30d"
    )
    assert elsewhere.fingerprint() == base
    others = {
        gate(tmp_path, keep="31d").fingerprint(),
        gate(tmp_path, keep="30d", as_of="2024-06-02").fingerprint(),
        gate(tmp_path, keep="30d", hidden=True).fingerprint(),
        gate(tmp_path, keep="30d", mapping=MAPPING[1:]).fingerprint(),
        gate(tmp_path, keep="30d", mapping=["cookie,ben", *MAPPING[1:]]).fingerprint(),
        gate(tmp_path, keep="30d", consents=CONSENTS[1:]).fingerprint(),
        gate(
            tmp_path, keep="30d", consents=[CONSENTS[0] + "2024-05-01", *CONSENTS[1:]]
        ).fingerprint(),
        Gate().fingerprint(),
    }
    assert base not in others
    assert len(others) == 8


def test_parts_tell_what_the_fingerprint_does_and_where(tmp_path: Path) -> None:
    def parts(folder: Path = tmp_path, **changes: Any) -> dict[str, str]:
        return gate(folder, **{"hidden": True, "keep": "30d", **changes}).parts()

    base = parts()
    assert set(base) == {"identity", "consent", "pseudonyms", "retention"}
    same = parts(tmp_path / "x", mapping=MAPPING[::-1], consents=[*CONSENTS[::-1], CONSENTS[0]])
    assert same == base
    others = {
        "identity": parts(mapping=["pad,ben", *MAPPING[:-1]], consents=CONSENTS),
        "consent": parts(consents=[CONSENTS[0] + "2024-05-01", *CONSENTS[1:]]),
        "retention": parts(keep="31d"),
    }
    for part, found in others.items():
        assert {name for name in base if found[name] != base[name]} == {part}
    assert set(base) - set(parts(hidden=False)) == {"pseudonyms"}


def test_neither_prints_nor_descriptions_hold_an_identifier(tmp_path: Path) -> None:
    passes = gate(tmp_path)
    admission = passes.admit(pl.Series(["phone", "pad", "ben", "ann"]))
    described = GateReport.of(passes)
    said = repr((passes, passes.parts(), described, admission, admission.refused))
    assert not any(name in said for name in ("ann", "ben", "cleo", "phone", "pad'"))
    assert described.consent == ConsentCounts(
        purpose="analytics",
        as_of=NOW,
        customers={"admitted": "<10", "consent was withdrawn": "<10"},
        unrecorded="refused",
    )
    assert described.identity is not None
    assert (described.identity.identifiers, described.identity.conflicts) == ("<10", 0)


def test_a_large_table_is_looked_up_as_a_small_one(tmp_path: Path) -> None:
    n = 200_000
    mapping = pl.DataFrame({"identifier": np.arange(n), "customer_id": n + np.arange(n) // 3})
    mapping.sample(fraction=1, shuffle=True, seed=1).write_parquet(tmp_path / "m.parquet")
    passes = make_gate(IdentitySettings(path=str(tmp_path / "m.parquet")), None, "training")
    ids = pl.Series(range(0, 2 * n, 7)).cast(pl.String)
    expected = [str(i if i >= n else n + i // 3) for i in range(0, 2 * n, 7)]
    assert passes.admit(ids).customer_id.to_list() == expected


def test_csv_tables_are_written_as_the_log_is(tmp_path: Path) -> None:
    from seqmarket.data.reading import CsvSettings

    path = tmp_path / "m.csv"
    path.write_text("identifier;customer_id\na;b\n")
    settings = IdentitySettings(path=str(path))
    with pytest.raises(SeqmarketError, match="no column 'identifier'"):
        make_gate(settings, None, "training")
    passes = make_gate(settings, None, "training", csv=CsvSettings(separator=";"))
    assert passes.admit(pl.Series(["a"])).customer_id.to_list() == ["b"]


def test_settings_load_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, seqmarket.data.gate.settings; "
        "print([m for m in ('polars', 'torch', 'numpy', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
