"""What a name in the file of keys may use: places and tokens, with a clock of the test's own."""

import pytest

from vllama_agent.accounts import Accounts
from vllama_agent.auth import Key, Limits
from vllama_agent.key_metrics import key_metrics
from vllama_core.errors import InvalidRequest, LimitReached


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def account(clock):
    def make(**limits):
        return Accounts(clock).of(Key(b"k", "n", Limits(**limits)))

    return make


def test_places_are_bounded_and_come_free(account):
    mine = account(concurrency=2)
    with mine.entered(), mine.entered():
        with pytest.raises(LimitReached, match="may have 2 answers at once, and 2 are being made") as caught, mine.entered():
            pass
        assert caught.value.retry_after == 1
    with mine.entered(2):
        assert mine.running == 2
    assert mine.running == 0
    assert mine.refused == {"concurrency": 1}


def test_more_answers_than_the_key_may_ever_have_are_the_callers_fault(account):
    with pytest.raises(InvalidRequest, match="asks for 3 answers at once, and your key may have 2"), account(concurrency=2).entered(3):
        pass


def test_tokens_are_paid_as_they_come_and_a_debt_is_waited_for(account, clock):
    mine = account(tokens_per_minute=60)
    with mine.entered():
        mine.pay(prompt=50)
        mine.pay(answer=40)
    with pytest.raises(LimitReached, match="may use 60 tokens a minute, and has used them; try again in 31 s") as caught, mine.entered():
        pass
    assert caught.value.retry_after == 31
    clock.now += 30.5
    with pytest.raises(LimitReached), mine.entered():
        pass
    clock.now += 0.5
    with mine.entered():
        pass
    assert (mine.prompt_tokens, mine.answer_tokens) == (50, 40)


def test_no_more_than_a_minutes_tokens_are_saved_up(account, clock):
    mine = account(tokens_per_minute=60)
    clock.now += 3600
    with mine.entered():
        mine.pay(answer=60)
    with pytest.raises(LimitReached), mine.entered():
        pass


def test_without_limits_everything_is_counted_and_nothing_refused(account):
    mine = account()
    for _ in range(100):
        with mine.entered(128):
            mine.pay(prompt=10**9)
    assert not mine.refused


def test_limits_change_with_the_file_and_debts_stay(clock):
    accounts = Accounts(clock)
    mine = accounts.of(Key(b"k", "n", Limits(tokens_per_minute=60)))
    mine.pay(answer=160)
    assert accounts.of(Key(b"other", "n", Limits(tokens_per_minute=600))) is mine
    with pytest.raises(LimitReached, match="try again in 11 s"), mine.entered():
        pass
    accounts.of(Key(b"k", "n", Limits()))
    with mine.entered():
        pass
    accounts.of(Key(b"k", "n", Limits(tokens_per_minute=60)))
    with mine.entered():
        mine.pay(answer=60)
    with pytest.raises(LimitReached, match="try again in 1 s"), mine.entered():
        pass


def test_an_error_frees_the_place(account):
    mine = account(concurrency=1)
    with pytest.raises(ZeroDivisionError), mine.entered():
        _ = 1 / 0
    with mine.entered():
        pass


def test_metrics_name_the_name(clock):
    accounts = Accounts(clock)
    mine = accounts.of(Key(b"s3cret", "team", Limits(concurrency=1)))
    mine.requests[200] += 2
    mine.pay(prompt=3, answer=4)
    samples = {(s.name, *s.labels.values()): s.value for family in key_metrics(accounts) for s in family.samples}
    assert samples == {
        ("vllama_key_requests_total", "team", "200"): 2,
        ("vllama_key_tokens_total", "team", "prompt"): 3,
        ("vllama_key_tokens_total", "team", "answer"): 4,
        ("vllama_key_answers_running", "team"): 0,
    }
