"""Grammars at work in the worker: the tokenizer that llguidance needs of a model, compiled grammars, each answer's place in its own.

Compiling happens in a thread. llguidance lets go of the interpreter lock meanwhile, so a schema that takes a second holds up no
stream; and what comes here has been compiled once before, in the text helper and within its deadline (`grammar`).

https://github.com/guidance-ai/llguidance
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import llguidance

from vllama_agent.engines.llama_cpp.grammar import LIMITS, first_line
from vllama_agent.engines.llama_cpp.mask import Mask
from vllama_agent.engines.llama_cpp.request import Request

KEPT = 32
"""Compiled grammars that are kept for the next request with the same one: an agent asks with the same few schemas over and over."""
SLOW_SECONDS = 0.15
"""CPU that one token may cost. The limits bound most of it to a few milliseconds; what they do not know is text that a grammar forces,
a megabyte of which takes longer than a step of sixteen streams."""


class GrammarFailed(Exception):
    """The grammar cannot say what may come next; the answer cannot go on."""


class Vocabulary(Protocol):
    """What is read of a model."""

    vocab_size: int

    def pieces(self) -> list[bytes]: ...
    def end_tokens(self) -> list[int]: ...
    @property
    def addresses(self) -> tuple[int, int]: ...


class Matcher:
    """One answer's place in its grammar; `request.Grammar` for the scheduler."""

    def __init__(self, matcher: llguidance.LLMatcher, *, forces: bool) -> None:
        """
        :param forces: False: every token is to be sampled, because its log-probability is wanted.
        """
        self._matcher = matcher
        self._forces = forces
        self._slow = False

    @property
    def complete(self) -> bool:
        return bool(self._matcher.is_stopped() and not self._matcher.is_error())

    def advance(self, token: int, most: int) -> list[int]:
        begin = time.thread_time()
        run: list[int] = []
        if self._matcher.consume_token(token) and self._forces and most > 0:
            forced = self._matcher.compute_ff_tokens()[:most]
            run = forced[: self._matcher.try_consume_tokens(forced)]
        self._time(begin)
        return run

    def fill(self, mask: Mask) -> None:
        """Write down the tokens that may come next.

        :raises GrammarFailed: there is no telling.
        """
        begin = time.thread_time()
        self._matcher.unsafe_compute_mask_ptr(mask.words.ctypes.data, mask.words.nbytes)
        self._time(begin)
        if self._slow:
            raise GrammarFailed(f"it takes more than {SLOW_SECONDS:g} s of CPU to tell what may come next; simplify it")
        if self._matcher.is_error():
            raise GrammarFailed(first_line(self._matcher.get_error()))

    def _time(self, begin: float) -> None:
        self._slow = self._slow or time.thread_time() - begin > SLOW_SECONDS


@dataclass(slots=True)
class _Compiling:
    request: Request
    grammar: str
    forces: bool
    future: Future[llguidance.LLMatcher]


class Grammars:
    """The grammars of a worker's requests, by request id.

    :ivar compiling: those whose request waits for its grammar.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.compiling: dict[int, _Compiling] = {}
        self._vocabulary = vocabulary
        self._tokenizer: llguidance.LLTokenizer | None = None
        self._matchers: dict[int, Matcher] = {}
        self._kept: OrderedDict[str, llguidance.LLMatcher] = OrderedDict()
        self._compiler = ThreadPoolExecutor(1, "grammar")
        self._mask = Mask(vocabulary.vocab_size)

    def compile(self, grammar: str, request: Request, *, forces: bool) -> None:
        """Compile a request's grammar; it comes back from `compiled`, at once where the same one was compiled before."""
        kept = self._kept.get(grammar)
        future: Future[llguidance.LLMatcher] = Future()
        if kept is None:
            future = self._compiler.submit(self._compile, grammar)
        else:
            future.set_result(kept)
        self.compiling[request.id] = _Compiling(request, grammar, forces, future)

    def compiled(self) -> Iterator[tuple[Request, GrammarFailed | None]]:
        """Requests that have their grammar now, or why they cannot."""
        for job in [job for job in self.compiling.values() if job.future.done()]:
            request = job.request
            del self.compiling[request.id]
            try:
                compiled = job.future.result()
            except GrammarFailed as failure:
                yield request, failure
                continue
            self._kept[job.grammar] = compiled
            self._kept.move_to_end(job.grammar)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            request.grammar = self._matchers[request.id] = Matcher(compiled.deep_copy(), forces=job.forces)
            yield request, None

    def mask(self, request_id: int) -> Mask:
        """What may come next in a request's answer; good until the next call.

        :raises GrammarFailed: there is no telling.
        """
        self._matchers[request_id].fill(self._mask)
        return self._mask

    def forget(self, request_id: int) -> None:
        """The request is gone, whether it had a grammar or not."""
        self._matchers.pop(request_id, None)

    def __len__(self) -> int:
        """Requests that hold a grammar."""
        return len(self._matchers)

    def _compile(self, grammar: str) -> llguidance.LLMatcher:
        if self._tokenizer is None:
            self._tokenizer = self._make_tokenizer()
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise GrammarFailed(first_line(matcher.get_error()))
        return matcher

    def _make_tokenizer(self) -> llguidance.LLTokenizer:
        """It waits for the first grammar: for 262k tokens it takes a second and 100 MB, and llguidance keeps the interpreter lock for
        seven tenths of that second, in which streams pause."""
        vocabulary, tokenize = self._vocabulary.addresses
        try:
            return llguidance.LLTokenizer.from_llamacpp(
                tokens=self._vocabulary.pieces(), vocab_ptr=vocabulary, tokenize_fptr=tokenize, eos_token=self._vocabulary.end_tokens()
            )
        except ValueError as error:
            raise GrammarFailed(f"this model's vocabulary does not allow it: {error}") from None
