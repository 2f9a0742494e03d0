def test_a(store):
    assert len(store.epoch)==12
def test_b(store):
    assert len(store.epoch)==12
