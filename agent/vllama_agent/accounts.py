"""What each name in the file of keys uses of the engines, and how much of that it may. Pure but for the clock that it is given.

A name's tokens are a bucket that a minute fills. Nobody knows an answer's length before it ends, so answers are paid as they come: while
something is left a request is let in, and what it takes beyond that is a debt that the next one waits for.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vllama_agent.auth import Key, Limits
from vllama_core.errors import InvalidRequest, LimitReached

RETRY_AFTER = 1
"""Seconds; a place is free with the next answer that ends."""


class Account:
    """Of one name.

    :ivar running: answers that wait or run.
    :ivar prompt_tokens: of all requests so far; likewise the others.
    :ivar requests: HTTP requests by status.
    :ivar refused: requests by the limit that they met.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.running = 0
        self.prompt_tokens = 0
        self.answer_tokens = 0
        self.requests: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        self._clock = clock
        self._limits = Limits()
        self._left = math.inf
        self._seen = clock()

    def limit(self, limits: Limits) -> None:
        """From now on; what was used stays used."""
        if limits != self._limits:
            before, after = self._limits.tokens_per_minute, limits.tokens_per_minute
            self._refill()
            self._limits = limits
            self._left = math.inf if after is None else min(self._left, after) if before else float(after)

    @contextmanager
    def entered(self, answers: int = 1) -> Iterator[None]:
        """Hold the places of a request while it is in the house.

        :param answers: how many generations it starts.
        :raises LimitReached: this name may not have them now.
        :raises InvalidRequest: nor ever.
        """
        self._check_concurrency(answers)
        self._check_tokens()
        self.running += answers
        try:
            yield
        finally:
            self.running -= answers

    def _check_concurrency(self, answers: int) -> None:
        most = self._limits.concurrency
        if most is None or self.running + answers <= most:
            return
        if answers > most:
            raise InvalidRequest(f"this request asks for {answers} answers at once, and your key may have {most}")
        self.refused["concurrency"] += 1
        raise LimitReached(f"your key may have {most} answers at once, and {self.running} are being made", retry_after=RETRY_AFTER)

    def _check_tokens(self) -> None:
        most = self._limits.tokens_per_minute
        self._refill()
        if most is None or self._left >= 1:
            return
        wait = math.ceil((1 - self._left) * 60 / most)
        self.refused["tokens-per-minute"] += 1
        raise LimitReached(f"your key may use {most} tokens a minute, and has used them; try again in {wait} s", retry_after=wait)

    def pay(self, *, prompt: int = 0, answer: int = 0) -> None:
        """Tokens that were used."""
        self.prompt_tokens += prompt
        self.answer_tokens += answer
        self._left -= prompt + answer

    def _refill(self) -> None:
        now, most = self._clock(), self._limits.tokens_per_minute
        if most is not None:
            self._left = min(self._left + (now - self._seen) * most / 60, most)
        self._seen = now


class Accounts:
    """Of every name that has sent something. Names are the file's, so there are no more than it ever had.

    :param clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[str, Account] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._of.values())

    def of(self, key: Key) -> Account:
        """The account of a key's name, with the limits that the file has for it now."""
        account = self._of.get(key.name)
        if account is None:
            account = self._of[key.name] = Account(key.name, self._clock)
        account.limit(key.limits)
        return account
