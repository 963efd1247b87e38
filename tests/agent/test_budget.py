"""Who may be loaded, and who has to go for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.pool.budget import Budget, Evict, Fits, Need, Occupant, Refuse, Use, Wait, decide

GB = 10**9


def loaded(name, size, use=Use.IDLE, *, at=0.0, gpu=0):
    return Occupant(name=name, need=Need(bytes=size * GB, gpu=gpu * GB), use=use, last_used=at, whose=name)


def decided(size, *occupants, budget=10, models=None, firm=True, gpu=0, gpus=None):
    limit = Budget(bytes=None if budget is None else budget * GB, gpu=None if gpus is None else gpus * GB, models=models, firm=firm)
    return decide("new", Need(bytes=size * GB, gpu=gpu * GB), occupants, limit)


def test_what_fits_is_loaded_and_nobody_goes():
    assert decided(4, loaded("a", 6)) == Fits()


def test_the_least_recently_used_idle_models_go_and_no_more_than_needed():
    occupants = (loaded("new one", 3, at=9), loaded("oldest", 3, at=1), loaded("old", 3, at=2))
    assert decided(4, *occupants) == Evict(("oldest",))
    assert decided(5, *occupants) == Evict(("oldest", "old"))


def test_nobody_goes_in_vain():
    """Idle models stay while a busy one takes what their going would not give."""
    decision = decided(8, loaded("idle", 3), loaded("busy", 4, Use.BUSY))
    assert isinstance(decision, Wait)
    assert decision.victims == ("busy",)
    assert decision.reason == "new needs 8 GB, and busy (4 GB) answers requests in 10 GB of memory"


def test_of_busy_models_too_the_least_recently_used_is_waited_for():
    decision = decided(4, loaded("later", 5, Use.BUSY, at=2), loaded("earlier", 5, Use.BUSY, at=1))
    assert isinstance(decision, Wait)
    assert decision.victims == ("earlier",)


def test_what_leaves_is_waited_for_before_anybody_else_goes():
    assert decided(5, loaded("idle", 5), loaded("leaving", 5, Use.LEAVING)) == Wait("leaving (5 GB) is being unloaded for it")


def test_pinned_models_never_go():
    decision = decided(5, loaded("pinned", 6, Use.PINNED), loaded("idle", 4))
    assert isinstance(decision, Refuse)
    assert decision.reason == (
        "model requires more system memory (5 GB) than is available (4 GB): new does not fit beside pinned (6 GB), which stays loaded "
        "with 6 GB; take a smaller quantization, a smaller --ctx-size or --kv-cells, or raise --memory"
    )


def test_what_is_larger_than_everything_is_refused():
    decision = decided(11)
    assert isinstance(decision, Refuse)
    assert "requires more system memory (11 GB) than is available (10 GB)" in decision.reason


def test_a_guessed_budget_lets_a_larger_model_run_alone():
    assert decided(11, firm=False) == Fits()
    assert decided(11, loaded("idle", 1), firm=False) == Evict(("idle",))


def test_a_number_of_models_is_a_bound_too():
    assert decided(1, loaded("a", 1), budget=None, models=2) == Fits()
    assert decided(1, loaded("a", 1, at=2), loaded("b", 1, at=1), budget=None, models=2) == Evict(("b",))
    refused = decided(1, loaded("a", 1, Use.PINNED), budget=None, models=1)
    assert refused == Refuse("new cannot be loaded: a (1 GB) stays loaded, and VLLAMA_MAX_LOADED_MODELS allows 1")


def test_the_memory_of_gpus_is_counted_apart():
    assert decided(1, loaded("a", 1, gpu=4), gpu=4, gpus=8) == Fits()
    assert decided(1, loaded("a", 1, gpu=5), gpu=4, gpus=8) == Evict(("a",))
    assert decided(6, loaded("a", 5, gpu=1), gpu=4, gpus=8) == Evict(("a",))
    assert decided(1, loaded("a", 1, gpu=9), gpus=8) == Fits()


def test_a_model_on_gpus_that_stays_is_named_with_what_it_takes_there():
    decision = decided(1, loaded("pinned", 1, Use.PINNED, gpu=6), gpu=4, gpus=8)
    assert isinstance(decision, Refuse)
    assert decision.reason == (
        "model requires more GPU memory (4 GB) than is available (2 GB): new does not fit beside pinned (1 GB), which stays "
        "loaded with 6 GB; take a smaller quantization, a smaller --gpu-layers"
    )
    waiting = decided(1, loaded("busy", 1, Use.BUSY, gpu=6), gpu=4, gpus=8)
    assert isinstance(waiting, Wait)
    limit = "10 GB of memory and 8 GB of GPU memory"
    assert waiting.reason == f"new needs 1 GB and 4 GB of GPU memory, and busy (1 GB) answers requests in {limit}"


def test_more_layers_than_gpus_hold_are_tried_alone():
    assert decided(1, gpu=9, gpus=8) == Fits()
    assert decided(1, loaded("a", 1, gpu=1), gpu=9, gpus=8) == Evict(("a",))


OCCUPANTS = st.lists(
    st.builds(
        lambda index, size, use, at: loaded(f"m{index}", size, use, at=at),
        st.integers(),
        st.integers(0, 6),
        st.sampled_from(Use),
        st.floats(0, 9),
    ),
    max_size=6,
)


@given(OCCUPANTS, st.integers(0, 12))
def test_a_decision_leads_to_the_load_within_the_budget_or_says_why_not(occupants, size):
    """Following decisions, with busy and leaving models ending in time, ends in Fits or Refuse, and never touches a pinned model."""
    unique = {occupant.whose: occupant for occupant in occupants}
    for _ in range(20):
        match decided(size, *unique.values()):
            case Fits():
                assert size * GB + sum(occupant.need.bytes for occupant in unique.values()) <= 10 * GB
                return
            case Refuse():
                pinned = sum(occupant.need.bytes for occupant in unique.values() if occupant.use is Use.PINNED)
                assert size * GB + pinned > 10 * GB
                return
            case Evict(victims):
                assert all(unique[name].use is Use.IDLE for name in victims)
                gone = victims
            case Wait(_, victims):
                assert all(unique[name].use is Use.BUSY for name in victims)
                gone = victims or tuple(name for name, occupant in unique.items() if occupant.use is Use.LEAVING)
        assert gone
        unique = {name: occupant for name, occupant in unique.items() if name not in gone}
    pytest.fail("no end")
