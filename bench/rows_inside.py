"""Rows that `bench.inside` measures in a process of its own: parts of ours behind a stand-in, starts, and the operator. Pure."""

from __future__ import annotations

from bench.goals import INSIDE, Goal, Row

AGENT = Row(
    key="agent-cpu",
    title="agent's CPU per streamed token, with a stand-in worker that emits frames",
    inside="agent-cpu",
    rounds=3,
    goals=(
        Goal(text="1 stream, 1,000 tokens/s", metric="one_us", of=INSIDE, at="<=", goal=70, floor=100, unit=" µs"),
        Goal(text="64 streams, 1,000 tokens/s", metric="many_us", of=INSIDE, at="<=", goal=70, floor=100, unit=" µs"),
        Goal(text="64 streams, 20,000 tokens/s", metric="flood_us", of=INSIDE, at="<=", goal=20, floor=40, unit=" µs"),
        Goal(text="of 20,000 tokens/s asked, delivered", metric="flood_rate", of=INSIDE, unit=" tok/s"),
        Goal(text="added TTFT, p50", metric="added_ttft_ms", of=INSIDE, at="<=", goal=1.5, floor=4.0, unit=" ms"),
    ),
    seconds=45,
)

VLLM_PROXY = Row(
    key="vllm-proxy",
    title="agent's CPU per streamed token over vLLM, with a stand-in that emits vLLM's events",
    inside="vllm-proxy",
    rounds=3,
    goals=(
        Goal(text="64 streams, 1,000 tokens/s: a token an event", metric="calm_us", of=INSIDE, at="<=", goal=70, floor=100, unit=" µs"),
        Goal(
            text="256 streams, 20,000 tokens/s, in events of one to four as the agent asks for",
            metric="flood_us",
            of=INSIDE,
            at="<=",
            goal=20,
            floor=35,
            unit=" µs",
        ),
        Goal(text="of 20,000 tokens/s asked, delivered", metric="flood_rate", of=INSIDE, unit=" tok/s"),
        Goal(text="longest gap of a stream / its median, while all run", metric="gap_ratio", of=INSIDE, at="<=", goal=2, unit="×"),
        Goal(text="the same with their beginning and end, all at once", metric="gap_ratio_with_ends", of=INSIDE, unit="×"),
        Goal(
            text="of the stand-in, read by the same client without the agent: while all run", metric="alone_gap_ratio", of=INSIDE, unit="×"
        ),
        Goal(text="and with their beginning and end", metric="alone_gap_ratio_with_ends", of=INSIDE, unit="×"),
        Goal(text="delivered by it", metric="alone_rate", of=INSIDE, unit=" tok/s"),
    ),
    seconds=75,
)
VLLM_SOAK = Row(
    key="vllm-soak",
    title="agent's memory over ten minutes of 256 streams and 20,000 tokens/s over vLLM's stand-in",
    inside="vllm-soak",
    rounds=1,
    goals=(
        Goal(text="grown from the second minute to the last", metric="soak_growth_mb", of=INSIDE, at="<=", goal=2, floor=5, unit=" MB"),
        Goal(text="most between two looks at it", metric="soak_worst_mb", of=INSIDE, unit=" MB"),
        Goal(text="at the end", metric="soak_mb", of=INSIDE, unit=" MB"),
    ),
    seconds=630,
)
VLLM = Row(
    key="vllm",
    title="our agent over vLLM beside a bare vLLM (CPU rebuild, tiny model, same flags)",
    inside="vllm",
    rounds=3,
    goals=(
        Goal(text="1 stream / bare vLLM", metric="one_ratio", of=INSIDE, goal=0.99, floor=0.97),
        Goal(text="8 streams / bare vLLM", metric="eight_ratio", of=INSIDE, goal=0.99, floor=0.97),
        Goal(text="32 streams / bare vLLM", metric="thirty_two_ratio", of=INSIDE, goal=0.99, floor=0.97),
        Goal(text="bare vLLM, 32 streams", metric="bare_thirty_two", of=INSIDE, unit=" tok/s"),
        Goal(text="vLLM on one core, agent and client on the other: 1 stream / bare vLLM", metric="apart_one_ratio", of=INSIDE),
        Goal(text="the same, 8 streams", metric="apart_eight_ratio", of=INSIDE),
        Goal(text="the same, 32 streams", metric="apart_thirty_two_ratio", of=INSIDE),
        Goal(text="bare vLLM on one core, client on the other, 32 streams", metric="bare_apart_thirty_two", of=INSIDE, unit=" tok/s"),
        Goal(text="added TTFT, p50", metric="added_ttft_ms", of=INSIDE, at="<=", goal=2.0, floor=5.0, unit=" ms"),
    ),
    seconds=240,
)
VLLM_INTERVALS = Row(
    key="vllm-intervals",
    title="a bare vLLM (CPU rebuild, tiny model) whose events hold one, two or four tokens",
    inside="vllm-intervals",
    rounds=1,
    goals=tuple(
        Goal(text=f"{streams} streams, {tokens} a time", metric=f"streams_{streams}_by_{tokens}", of=INSIDE, unit=" tok/s")
        for streams in (1, 8, 32, 128, 256)
        for tokens in (1, 2, 4)
    ),
    seconds=150,
)


def _cancel(case: str, words: str) -> tuple[Goal, Goal]:
    return (
        Goal(text=f"{words}: beyond the running step, worst", metric=f"{case}_excess_ms", of=INSIDE, at="<=", goal=5, unit=" ms"),
        Goal(text=f"{words}: in steps, worst", metric=f"{case}_steps", of=INSIDE, at="<=", goal=2, floor=2, unit=" steps"),
    )


CANCEL = Row(
    key="cancel",
    title="cancel to sequence freed",
    inside="cancel",
    rounds=3,
    goals=(*_cancel("decode", "while decoding"), *_cancel("prefill", "in prefill"), *_cancel("queued", "queued")),
    seconds=60,
)

CODECS = Row(
    key="codecs",
    title="codecs per piece of a stream, parsers of markup over pieces of four letters",
    inside="codecs",
    rounds=3,
    goals=(
        Goal(text="worst of the codecs, a piece", metric="codec_us_worst", of=INSIDE, at="<=", goal=5, unit=" µs"),
        Goal(text="Ollama, words", metric="ollama_text_us", of=INSIDE, unit=" µs"),
        Goal(text="OpenAI, words", metric="openai_text_us", of=INSIDE, unit=" µs"),
        Goal(text="worst of the parsers", metric="parser_mb_s_worst", of=INSIDE, goal=5, unit=" MB/s"),
    ),
    seconds=20,
)

STRUCTURED = Row(
    key="structured",
    title="16 streams held to a JSON schema, 30 schemas in 5 rounds, against free answers of the same lengths",
    inside="structured",
    goals=(
        Goal(text="answers that end and are valid by their schema", metric="valid_percent", of=INSIDE, goal=100, unit=" %"),
        Goal(text="tok/s of a round's median schema / free", metric="ratio_p50", of=INSIDE, goal=1.0),
        Goal(text="tok/s of a round's worst schema / free", metric="ratio_worst", of=INSIDE, goal=0.95),
        Goal(text="tok/s of schemas with long keys / free", metric="ratio_long_keys", of=INSIDE, goal=1.10),
        Goal(text="compiling a schema, p50 of 30", metric="compile_ms_p50", of=INSIDE, at="<=", goal=20, unit=" ms"),
        Goal(text="answers cut at their limit, within a string", metric="cut_percent", of=INSIDE, unit=" %"),
    ),
    seconds=60,
)

_SECONDS = (
    Goal(text="ours", metric="ours", of=INSIDE, unit=" s"),
    Goal(text="llama-server", metric="llama", of=INSIDE, unit=" s"),
)
COLD_START = Row(
    key="cold-start",
    title="from no process to the first token, demo model, file in the page cache",
    inside="cold-start",
    beside=("llama-server",),
    goals=(Goal(text="ours - llama-server", metric="extra", of=INSIDE, at="<=", goal=1.5, floor=2.5, unit=" s"), *_SECONDS),
    seconds=12,
)
COLD_START_BIG = Row(
    key="cold-start-big",
    title="from no process to the first token, 1 GB model, file not in the page cache",
    inside="cold-start-big",
    beside=("llama-server",),
    goals=(Goal(text="ours / llama-server", metric="ratio", of=INSIDE, at="<=", goal=1.15), *_SECONDS),
    seconds=20,
)


def load(cache: str, words: str) -> Row:
    return Row(
        key=f"load-big-{cache}",
        title=f"load of a 1 GB model into a running agent, file {words} the page cache",
        inside=f"load-big-{cache}",
        beside=("llama-server",),
        goals=(Goal(text="ours / llama-server, from no process to loaded", metric="ratio", of=INSIDE, at="<=", goal=1.1), *_SECONDS),
        seconds=20,
    )


_FIRST_OBJECT = Goal(
    text="to the first object of a model that nobody has planned, p50", metric="first_ms_p50", of=INSIDE, at="<=", goal=300, unit=" ms"
)
_DEPLOYMENT = Goal(
    text="to the Deployment where the plan is known, p50", metric="deployment_ms_p50", of=INSIDE, at="<=", goal=300, unit=" ms"
)
OPERATOR_APPLY = Row(
    key="operator-apply",
    title="an LLMServe is applied and the operator acts, nothing else to do",
    inside="operator-apply",
    goals=(_FIRST_OBJECT, _DEPLOYMENT),
    rounds=3,
    seconds=75,
)
OPERATOR_CROWD = Row(
    key="operator-crowd",
    title="an LLMServe is applied and the operator acts, 500 others there",
    inside="operator-crowd",
    goals=(
        _FIRST_OBJECT,
        _DEPLOYMENT,
        Goal(text="to the Deployment where the plan is known, p99", metric="deployment_ms_p99", of=INSIDE, at="<=", goal=1000, unit=" ms"),
    ),
    rounds=1,
    seconds=240,
)
OPERATOR_IDLE = Row(
    key="operator-idle",
    title="1,000 LLMServes that nobody touches, ten minutes, two replicas of the operator",
    inside="operator-idle",
    goals=(
        Goal(text="requests to the API server, the Lease's apart", metric="requests_per_s", of=INSIDE, at="<=", goal=1, unit="/s"),
        Goal(text="the Lease's, two replicas", metric="lease_requests_per_s", of=INSIDE, at="<=", goal=1, unit="/s"),
        Goal(text="the operator's memory at most", metric="memory_mb", of=INSIDE, at="<=", goal=150, unit=" MB"),
        Goal(text="CPU to start and to look at all of them", metric="resync_cpu_s", of=INSIDE, at="<=", goal=60, unit=" s"),
        Goal(text="CPU while nothing happens", metric="idle_cpu_percent", of=INSIDE, unit=" % of a core"),
    ),
    rounds=1,
    seconds=1000,
)
