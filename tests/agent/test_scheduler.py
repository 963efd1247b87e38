"""The scheduler against a deterministic model: whatever arrives, leaves or runs out, every answer is the one it would get alone."""

from __future__ import annotations

import random

import pytest

from vllama_agent.engines.base import FinishReason
from vllama_agent.engines.llama_cpp import fake_model as fake
from vllama_agent.engines.llama_cpp.costs import RowShape, StepCosts
from vllama_agent.engines.llama_cpp.prefix_cache import PrefixCache
from vllama_agent.engines.llama_cpp.request import Output, Request, State
from vllama_agent.engines.llama_cpp.rows import MIN_CHUNK
from vllama_agent.engines.llama_cpp.scheduler import WORTH_WAITING, Scheduler
from vllama_agent.engines.llama_cpp.textstream import TextStream
from vllama_agent.engines.llama_cpp.whole_cache import WholeCache

PER_ROW = 0.001
MIXED = RowShape()
TURNS = RowShape(mixes=False, multiple=16)


class Bench:
    """A scheduler with its fake world; time goes on by what each step would cost."""

    def __init__(
        self,
        *,
        cells: int = 4096,
        running: int = 8,
        sequences: int = 24,
        whole: bool = False,
        max_rows: int = 64,
        shape: RowShape = MIXED,
        learnt: bool = True,
    ) -> None:
        """
        :param learnt: steps have told what rows cost.
        """
        self.memory = fake.FakeMemory(cells, running=running, sequences=running if whole else sequences, whole_only=whole)
        self.cache = WholeCache(self.memory) if whole else PrefixCache(self.memory)
        costs = StepCosts()
        if learnt:
            costs.observe(decode_rows=1, prefill_rows=0, seconds=0.01)
            costs.observe(decode_rows=0, prefill_rows=100, seconds=100 * PER_ROW)
        self.scheduler = Scheduler(
            self.cache,
            costs,
            max_rows=max_rows,
            step_budget=0.05,
            shape=shape,
            is_end=lambda t: t == fake.END,
            piece=lambda t: bytes([65 + t]),
        )
        self.now = 0.0
        self.answers: dict[int, list[int]] = {}
        self.finished: dict[int, FinishReason] = {}
        self.rows: list[int] = []

    def submit(self, request_id: int, prompt: list[int], **options: object) -> Request:
        values: dict[str, object] = {"limit": 2048, "max_tokens": 12, "text": TextStream(), **options}
        request = Request(id=request_id, tokens=list(prompt), arrival=self.now, **values)  # type: ignore[arg-type]
        self.answers[request_id] = []
        self.scheduler.submit(request)
        return request

    def step(self) -> list[Output]:
        step = self.scheduler.plan(self.now)
        if step is None:
            self.check()
            return []
        sampled = self.memory.decode(step)
        seconds = 0.01 + PER_ROW * len(step.tokens)
        self.now += seconds
        self.rows.append(len(step.tokens))
        outputs = self.scheduler.commit(step, sampled, now=self.now, seconds=seconds)
        for output in outputs:
            self.answers[output.request.id].append(output.token)
            if output.finish:
                self.finished[output.request.id] = output.finish
        self.check()
        return outputs

    def drain(self, most: int = 20_000) -> None:
        for _ in range(most):
            if self.scheduler.running + self.scheduler.waiting == 0:
                return
            self.step()
        raise AssertionError(f"{self.scheduler.running} running and {self.scheduler.waiting} waiting after {most} steps")

    def check(self) -> None:
        self.cache.check()
        assert len(self.memory.held) == self.cache.used, "a cell leaked"


def prompt_of(seed: int, length: int) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(1, fake.VOCABULARY) for _ in range(length)]


@pytest.mark.parametrize("shape", [MIXED, TURNS], ids=["mixed", "turns"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_any_course_of_events_gives_each_request_its_own_answer(seed: int, whole: bool, shape: RowShape) -> None:
    """About 24,000 events over all seeds, in pools from roomy to far too small; half of the requests have tokens forced upon them."""
    chance = random.Random(seed)
    cells = chance.choice([160, 200, 400, 3000])
    bench = Bench(
        cells=cells, running=chance.choice([2, 5, 16]), sequences=24, whole=whole, max_rows=chance.choice([7, 32, 256]), shape=shape
    )
    systems = [prompt_of(1000 + i, chance.randrange(1, 70)) for i in range(4)]
    submitted: dict[int, Request] = {}
    prompts: dict[int, list[int]] = {}
    cancelled: set[int] = set()
    for event in range(150):
        kind = chance.random()
        if kind < 0.35:
            prompt = chance.choice(systems) + prompt_of(event, chance.randrange(1, 60))
            if prompts and chance.random() < 0.3:  # the next turn of an earlier chat
                earlier = chance.choice(sorted(prompts))
                prompt = (prompts[earlier] + bench.answers[earlier] + [3])[:130]
            prompts[event] = prompt
            grammar = fake.FakeGrammar(prompt, longest=chance.choice([1, 4, 30, 120])) if chance.random() < 0.5 else None
            submitted[event] = bench.submit(event, prompt, limit=150, max_tokens=chance.randrange(1, 150 - len(prompt)), grammar=grammar)
        elif kind < 0.45 and submitted:
            victim = chance.choice(sorted(submitted))
            if bench.scheduler.cancel(victim):
                cancelled.add(victim)
                bench.check()
        elif kind < 0.5 and submitted:
            bench.scheduler.pause(chance.choice(sorted(submitted)), chance.random() < 0.5)
        else:
            bench.step()
    for request_id in submitted:
        bench.scheduler.pause(request_id, False)
    bench.drain()
    for request_id, request in submitted.items():
        expected = fake.continuation(prompts[request_id], request.max_tokens)
        if request_id in cancelled:
            assert bench.answers[request_id] == expected[: len(bench.answers[request_id])]
        else:
            assert bench.answers[request_id] == expected
    assert bench.scheduler.totals.preemptions == 0 or cells < 3000


def test_requests_that_arrive_together_decode_in_one_step() -> None:
    bench = Bench()
    for i in range(6):
        bench.submit(i, prompt_of(i, 5), max_tokens=4)
    bench.step()
    outputs = bench.step()
    assert {output.request.id for output in outputs} <= set(range(6))
    assert bench.rows[1] == len([i for i in range(6) if i not in bench.finished or len(bench.answers[i]) > 1])


def test_a_prefix_that_is_being_prefilled_is_computed_once() -> None:
    """Sixteen requests with 500 tokens in common cost one prefix, not sixteen."""
    bench = Bench(running=16, max_rows=64)
    shared = prompt_of(1, 500)
    for i in range(16):
        bench.submit(i, shared + prompt_of(100 + i, 20))
    bench.drain()
    assert bench.scheduler.totals.prompt_computed <= 1.02 * (500 + 16 * 20)


def test_waiters_go_on_when_their_leader_is_cancelled() -> None:
    bench = Bench(max_rows=32)
    shared = prompt_of(1, WORTH_WAITING * 4)
    bench.submit(0, [*shared, 1])
    bench.step()
    bench.submit(1, [*shared, 2])
    bench.step()
    assert bench.scheduler.waiting == 1
    bench.scheduler.cancel(0)
    bench.drain()
    assert bench.answers[1] == fake.continuation([*shared, 2], 12)


@pytest.mark.parametrize("steps", [0, 1, 3], ids=["waiting", "prefill", "decode"])
def test_a_cancelled_request_gets_no_further_row(steps: int) -> None:
    """Its cells are evictable at once, and its sequence is free."""
    seed = next(s for s in range(500) if len(fake.continuation(prompt_of(s, 60), 20)) == 20)
    bench = Bench(max_rows=32)
    bench.submit(0, prompt_of(seed, 60), max_tokens=20)
    for _ in range(steps):
        bench.step()
    assert bench.scheduler.cancel(0)
    assert bench.scheduler.running + bench.scheduler.waiting == 0
    assert bench.step() == []
    assert len(bench.rows) == steps
    assert bench.cache.idle == bench.cache.used
    assert not bench.scheduler.cancel(0)


def test_a_finished_answer_is_reused_by_the_next_turn() -> None:
    bench = Bench()
    prompt = prompt_of(7, 100)
    bench.submit(0, prompt, max_tokens=3)
    bench.drain()
    request = bench.submit(1, [*prompt, *bench.answers[0], 5])
    bench.drain()
    assert request.cached_tokens >= 100


def test_where_rows_do_not_mix_they_take_turns_within_one_budget() -> None:
    """Between two tokens of a running answer there is one chunk at the most, of whole tiles, and together they keep to the budget."""
    bench = Bench(max_rows=512, cells=40_000, shape=TURNS)
    seed = next(s for s in range(5000) if len(fake.continuation(prompt_of(s, 4), 60)) == 60)
    bench.submit(0, prompt_of(seed, 4), max_tokens=60)
    bench.step()
    long = bench.submit(1, prompt_of(9, 1000), limit=8000)
    began = bench.now
    while long.remaining > 16:
        before = len(bench.answers[0])
        bench.step()
        rows = bench.rows[-1]
        if len(bench.answers[0]) > before:
            assert rows == 1
            assert bench.now - began <= 0.05 + 0.02
            began = bench.now
        else:
            assert rows % 16 == 0 or long.remaining == 0
    chunks = [rows for rows in bench.rows[1:] if rows > 1]
    assert len(chunks) >= 10
    assert len(bench.answers[0]) >= len(chunks)


@pytest.mark.parametrize(("heads", "threads", "multiple"), [(4, 2, 128), (32, 2, 64), (8, 2, 64), (32, 12, 192), (8, 16, 512), (1, 1, 256)])
def test_a_chunk_is_made_of_whole_attention_tiles(heads: int, threads: int, multiple: int) -> None:
    """ggml gives each thread a quarter of its share of heads times rows, and a share that ends within a tile wastes the rest of it."""
    shape = RowShape.of_tiles(heads=heads, threads=threads)
    assert shape == RowShape(mixes=False, multiple=multiple, narrow=63)
    share = multiple * heads / (4 * threads)
    assert share % multiple == 0 or share % 64 == 0
    few = multiple // 2 - 1
    assert [shape.rounded(rows) for rows in (few, few + 1, multiple, 3 * multiple - 1)] == [few, multiple, multiple, 2 * multiple]


@pytest.mark.parametrize("shape", [MIXED, TURNS], ids=["mixed", "turns"])
def test_a_long_prompt_never_freezes_running_answers(shape: RowShape) -> None:
    """Every step that holds decode rows stays within its budget, and every running answer gets a token in each."""
    bench = Bench(max_rows=512, cells=40_000, shape=shape)
    streams = [bench.submit(i, prompt_of(i, 4), max_tokens=2000, limit=4000) for i in range(3)]
    bench.step()
    alive = [r for r in streams if r.state is not State.DONE]
    bench.submit(99, prompt_of(99, 5000), limit=8000)
    before = bench.now
    while bench.scheduler.totals.prompt_computed < 5000 and any(r.state is State.DECODE for r in alive):
        outputs = bench.step() or bench.step()  # a turn of prefill brings nobody a token
        decoding = sum(1 for r in alive if r.state is State.DECODE)
        assert sum(1 for output in outputs if output.request in alive) >= decoding
        assert bench.now - before <= 0.05 + 0.02
        before = bench.now


def test_a_machine_too_slow_for_the_budget_still_prefills_half_of_the_time() -> None:
    """Decoding alone exceeds the step budget: steps get at most twice as long, and the prompt is through in a sane number of them."""
    bench = Bench(max_rows=512, cells=40_000)
    seed = next(s for s in range(5000) if len(fake.continuation(prompt_of(s, 4), 60)) == 60)
    bench.submit(0, prompt_of(seed, 4), max_tokens=60)
    decode_seconds = 0.2
    bench.step()
    for rows in (1, 1, 1, 1, 1, 1):
        bench.scheduler._costs.observe(decode_rows=rows, prefill_rows=0, seconds=decode_seconds)
    long = bench.submit(1, prompt_of(9, 3000), limit=8000)
    step = bench.scheduler.plan(bench.now)
    assert step is not None
    assert long.state is State.PREFILL
    assert 0.5 * decode_seconds / PER_ROW <= len(step.tokens) - 1 <= 1.1 * decode_seconds / PER_ROW


def test_a_prompt_beside_an_answer_begins_with_few_rows_and_goes_on_with_as_many_as_they_turn_out_to_allow() -> None:
    """Nothing was measured before: what rows cost is learnt from those that are wanted."""
    bench = Bench(max_rows=512, cells=40_000, learnt=False)
    seed = next(s for s in range(5000) if len(fake.continuation(prompt_of(s, 4), 60)) == 60)
    answer = bench.submit(0, prompt_of(seed, 4), max_tokens=60, limit=4000)
    bench.step()
    long = bench.submit(1, prompt_of(1, 3000), limit=8000)
    chunks: list[int] = []
    while answer.state is State.DECODE:
        before, at = long.computed, bench.now
        bench.step()
        chunks += [long.computed - before] if long.computed > before else []
        assert bench.now - at <= 0.05 + 0.02
    assert chunks[0] == MIN_CHUNK
    assert max(chunks) >= 0.6 * 0.05 / PER_ROW


def test_short_prompts_overtake_long_ones_but_not_for_ever() -> None:
    bench = Bench(max_rows=64, cells=100_000, running=8)
    long = bench.submit(0, prompt_of(0, 3000), limit=8000)
    bench.step()
    first = bench.submit(1, prompt_of(1, 30), max_tokens=1)
    bench.step()
    assert first.state is State.DONE
    for i in range(2, 2000):
        bench.submit(i, prompt_of(i, 60), max_tokens=1)
        bench.step()
        if long.generated:
            break
    assert long.generated, "a stream of short prompts starved the long one"


def test_the_youngest_is_preempted_and_resumes_with_its_tokens() -> None:
    bench = Bench(cells=160, running=4)
    for i in range(4):
        bench.submit(i, prompt_of(i, 30), max_tokens=60, limit=150)
        bench.step()
    bench.drain()
    assert bench.answers == {i: fake.continuation(prompt_of(i, 30), 60) for i in range(4)}


def test_a_full_window_ends_the_answer_or_shifts_it() -> None:
    long_answer = next(seed for seed in range(500) if len(fake.continuation(prompt_of(seed, 10), 40)) == 40)
    bench = Bench()
    bench.submit(0, prompt_of(long_answer, 10), limit=20, max_tokens=40)
    shifting = bench.submit(1, prompt_of(long_answer, 10), limit=20, max_tokens=40, shift=True, num_keep=4)
    bench.drain()
    assert bench.finished[0] is FinishReason.LENGTH
    assert len(bench.answers[0]) == 10
    assert shifting.context_shifts >= 1
    assert bench.answers[1][:10] == bench.answers[0]


def test_a_shift_costs_nobody_else_anything() -> None:
    """Two requests share a prompt; one shifts its context, the other's tokens stay right."""
    seed = next(s for s in range(2000) if len(fake.continuation(prompt_of(s, 100), 60)) == 60)
    prompt = prompt_of(seed, 100)
    bench = Bench()
    bench.submit(0, prompt, limit=120, max_tokens=60, shift=True, num_keep=4)
    bench.submit(1, prompt, limit=400, max_tokens=60)
    bench.drain()
    assert bench.answers[1] == fake.continuation(prompt, 60)
    assert bench.scheduler.totals.context_shifts >= 1


def test_a_stop_string_ends_the_answer_before_it() -> None:
    seed = next(s for s in range(500) if len(fake.continuation(prompt_of(s, 10), 20)) == 20)
    expected = "".join(chr(65 + token) for token in fake.continuation(prompt_of(seed, 10), 20))
    bench = Bench()
    bench.submit(0, prompt_of(seed, 10), max_tokens=20, text=TextStream((expected[5:8],)))
    text = ""
    while 0 not in bench.finished:
        text += "".join(output.text for output in bench.step())
    assert bench.finished[0] is FinishReason.STOP
    assert text == expected[: expected.index(expected[5:8])]


def test_a_paused_answer_gets_no_rows() -> None:
    bench = Bench()
    seed = next(s for s in range(500) if len(fake.continuation(prompt_of(s, 10), 20)) == 20)
    bench.submit(0, prompt_of(seed, 10), max_tokens=20)
    bench.step()
    bench.scheduler.pause(0, True)
    assert bench.step() == []
    assert bench.step() == []
    bench.scheduler.pause(0, False)
    bench.drain()
    assert bench.answers[0] == fake.continuation(prompt_of(seed, 10), 20)


def test_idle_prefixes_go_before_anybody_is_preempted() -> None:
    bench = Bench(cells=200)
    bench.submit(0, prompt_of(0, 150), max_tokens=1)
    bench.drain()
    bench.submit(1, prompt_of(1, 150), max_tokens=1)
    bench.drain()
    assert bench.scheduler.totals.preemptions == 0
    assert bench.cache.evicted_total > 0


class Recital:
    """Forces one long run after the first token."""

    complete = False

    def __init__(self, length: int) -> None:
        self._left = length

    def advance(self, _token: int, most: int) -> list[int]:
        run, self._left = [7] * min(most, self._left), 0
        return run


def test_a_long_forced_run_in_a_small_pool_lets_the_next_request_wait() -> None:
    """Its cells are promised: another request is not admitted into them, to be preempted at once, admitted again, and so on."""
    bench = Bench(cells=150, running=4, max_rows=256)
    reciting = bench.submit(0, prompt_of(1, 50), limit=150, max_tokens=90, grammar=Recital(80))
    bench.step()
    assert reciting.remaining > 64
    bench.submit(1, prompt_of(2, 60), limit=150)
    bench.drain()
    assert bench.answers[1] == fake.continuation(prompt_of(2, 60), 12)
    assert bench.scheduler.totals.preemptions == 0


def test_a_reused_prefix_is_not_counted_as_room_too() -> None:
    """A request whose idle prefix is nearly all that could be evicted waits; admitted, it would lose the prefix and its place."""
    bench = Bench(cells=300, running=4, max_rows=256)
    shared = prompt_of(3, 100)
    for request_id, end in ((0, [1, 2, 3, 4, 5]), (1, [9, 9, 9])):
        bench.submit(request_id, shared + end, max_tokens=1)
        bench.drain()
    bench.submit(2, prompt_of(4, 180), max_tokens=60, limit=290)
    bench.step()
    assert bench.cache.free < 20 < bench.cache.idle
    again = bench.submit(3, shared + prompt_of(5, 20), max_tokens=3)
    bench.drain()
    assert again.cached_tokens == 100
    assert bench.scheduler.totals.preemptions == 0


def test_readers_that_are_behind_make_place_for_those_that_wait() -> None:
    """All sequences belong to answers that nobody reads: the next request is answered, and they go on where they were."""
    seeds = [s for s in range(3000) if len(fake.continuation(prompt_of(s, 10), 20)) == 20][:3]
    bench = Bench(running=2)
    for i in (0, 1):
        bench.submit(i, prompt_of(seeds[i], 10), max_tokens=20)
    bench.step()
    for i in (0, 1):
        bench.scheduler.pause(i, True)
    bench.submit(2, prompt_of(seeds[2], 10), max_tokens=20)
    while 2 not in bench.finished:
        assert bench.step(), "nobody works although somebody waits"
    assert bench.step() == []
    computed = bench.scheduler.totals.prompt_computed
    for i in (0, 1):
        bench.scheduler.pause(i, False)
    bench.drain()
    assert bench.answers == {i: fake.continuation(prompt_of(seeds[i], 10), 20) for i in range(3)}
    assert bench.scheduler.totals.prompt_computed - computed <= 2, "what was computed was not kept"


def test_who_is_read_slowly_is_preempted_first() -> None:
    seeds = [s for s in range(3000) if len(fake.continuation(prompt_of(s, 60), 40)) == 40][:2]
    bench = Bench(cells=150, running=4)
    slow = bench.submit(0, prompt_of(seeds[0], 60), max_tokens=40, limit=150)
    bench.step()
    bench.scheduler.pause(0, True)
    bench.submit(1, prompt_of(seeds[1], 60), max_tokens=40, limit=150)
    while 1 not in bench.finished:
        assert bench.step()
    assert slow.state is State.WAITING
    bench.scheduler.pause(0, False)
    bench.drain()
    assert bench.answers == {i: fake.continuation(prompt_of(seeds[i], 60), 40) for i in (0, 1)}


def forcing(bench: Bench, request_id: int, *, tokens: int, **options: object) -> tuple[Request, fake.FakeGrammar]:
    """A request for `tokens` tokens, up to eight of them forced at a time, of a model that would go on."""
    prompt = prompt_of(next(s for s in range(5000) if fake.END not in fake.continuation(prompt_of(s, 10), 41)), 10)
    ends_after = options.pop("ends_after", None)
    grammar = fake.FakeGrammar(prompt, longest=8, ends_after=ends_after)  # type: ignore[arg-type]
    return bench.submit(request_id, prompt, max_tokens=tokens, grammar=grammar, **options), grammar


def test_forced_tokens_come_with_the_token_before_and_are_computed_in_one_step() -> None:
    bench = Bench()
    request, grammar = forcing(bench, 0, tokens=40)
    bench.drain()
    assert bench.answers[0] == fake.continuation(request.tokens[:10], 40)
    assert grammar.forced > 10
    assert len(bench.rows) == 40 - grammar.forced
    assert bench.scheduler.totals.generated == 40


@pytest.mark.parametrize("shape", [MIXED, RowShape(mixes=False, multiple=16, narrow=5)], ids=["mixed", "narrow"])
def test_forced_tokens_of_one_answer_hold_up_no_other(shape: RowShape) -> None:
    """Each step brings every other answer its token, and stays as narrow as the backend likes it."""
    bench = Bench(shape=shape)
    seed = next(s for s in range(5000) if len(fake.continuation(prompt_of(s, 4), 60)) == 60)
    bench.submit(1, prompt_of(seed, 4), max_tokens=60)
    bench.step()
    request, _ = forcing(bench, 0, tokens=40)
    while request.state is not State.DECODE:
        bench.step()
    while 0 not in bench.finished:
        assert 1 in {output.request.id for output in bench.step()}
        assert bench.rows[-1] <= max(shape.narrow, 2)
    bench.drain()
    assert bench.answers[1] == fake.continuation(prompt_of(seed, 4), 60)


def test_a_complete_grammar_ends_the_answer_without_an_end_token() -> None:
    bench = Bench()
    request, _ = forcing(bench, 0, tokens=40, ends_after=23)
    bench.drain()
    assert bench.finished[0] is FinishReason.STOP
    assert bench.answers[0] == fake.continuation(request.tokens[:10], 23)


@pytest.mark.parametrize("tokens", range(1, 20))
def test_forced_tokens_keep_to_the_limits(tokens: int) -> None:
    """num_predict, and the window."""
    bench = Bench()
    forcing(bench, 0, tokens=tokens)
    forcing(bench, 1, tokens=40, limit=10 + tokens)
    bench.drain()
    assert [len(bench.answers[i]) for i in (0, 1)] == [tokens, tokens]
    assert bench.finished[0] is bench.finished[1] is FinishReason.LENGTH


class Chorus:
    """Forces the same three tokens after every sampled one."""

    complete = False

    def advance(self, _token: int, most: int) -> list[int]:
        return [7, 8, 9][:most]


def test_a_shift_between_forced_tokens_loses_none() -> None:
    """The window is full in the middle of a run: what has not been forced is sampled after the shift, and nothing is doubled."""
    bench = Bench()
    request = bench.submit(0, prompt_of(3, 10), max_tokens=300, limit=21, shift=True, num_keep=4, grammar=Chorus())
    bench.drain()
    assert request.context_shifts >= 2
    assert len(bench.answers[0]) == request.generated
    assert request.generated == 300 or bench.answers[0][-1] == fake.END


def test_a_stop_string_among_forced_tokens_ends_the_answer_there() -> None:
    bench = Bench()
    request, grammar = forcing(bench, 0, tokens=40)
    expected = "".join(chr(65 + token) for token in fake.continuation(request.tokens, 40))
    request.text = TextStream((expected[20:23],))
    text = ""
    while 0 not in bench.finished:
        text += "".join(output.text for output in bench.step())
    assert grammar.forced
    assert bench.finished[0] is FinishReason.STOP
    assert text == expected[: expected.index(expected[20:23])]


def test_an_answer_that_cannot_go_on_is_forgotten_and_the_others_go_on() -> None:
    bench = Bench()
    for i in range(2):
        bench.submit(i, prompt_of(i, 5), max_tokens=4)
    step = bench.scheduler.plan(0.0)
    assert step is not None
    tokens = bench.memory.decode(step)
    outputs = bench.scheduler.commit(step, [None, tokens[1]], now=0.1, seconds=0.1)
    bench.check()
    assert [output.request.id for output in outputs] == [1]
    assert bench.scheduler.running == 1
