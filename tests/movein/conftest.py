"""A Davenport to import into, over each kind of store."""

from __future__ import annotations

import pytest

from dav.config import Config
from storage.engine import Store
from tests.movein_wire.kit import Here


@pytest.fixture
def here(store: Store) -> Here:
    return Here(store, Config())
