"""References to RFCs in the code: the numbers exist, and the table is made from them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rfc() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tools_rfc", ROOT / "tools" / "rfc.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_rfc_named_in_the_code_is_a_known_one(rfc: ModuleType) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: RFC {number}"
        for path in rfc.sources()
        for line, number in rfc.unknown_numbers(path.read_text("utf-8"))
    ]
    assert wrong == []


def test_a_reference_and_a_debt_are_told_apart(rfc: ModuleType) -> None:
    text = "x\n# RFC 6578 §3.2, §3.3.1: a token\n# RFC 4791 §9.9 todo: VFREEBUSY is not indexed\n# RFC 9999 §1\n"
    found = [(r.rfc, r.section, r.line, r.todo) for r in rfc.references(text, "a.py")]
    assert found == [
        (6578, "3.2", 2, None),
        (6578, "3.3.1", 2, None),
        (4791, "9.9", 3, "VFREEBUSY is not indexed"),
        (9999, "1", 4, None),
    ]
    assert rfc.unknown_numbers(text) == [(4, 9999)]


def test_sections_stand_in_the_order_of_the_document(rfc: ModuleType) -> None:
    found = list(rfc.references("# RFC 4791 §9.10\n# RFC 4791 §9.9\n# RFC 4791 §10\n", "a.py"))
    text = rfc.document(found)
    assert text.index("§9.9 ") < text.index("§9.10 ") < text.index("§10 ")


def test_the_program_refers_to_the_documents_it_implements(rfc: ModuleType) -> None:
    assert {4918, 4791, 6352, 6578, 7617} <= {reference.rfc for reference in rfc.collect()}
