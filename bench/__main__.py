"""`make bench`: measure, write the results down one by one, and BENCHMARKS.md from them.

python -m bench                        # everything: two and a half hours, ten minutes' soak, and half an hour for the operator
python -m bench one-greedy,shared      # some rows
python -m bench --list                 # the rows and how long they take
python -m bench --report               # only write BENCHMARKS.md from what was measured
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import signal
from collections.abc import Iterable, Iterator

from bench import peers, places, report, rows, run
from bench.goals import Row
from bench.results import ResultsFile


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="names from --list, comma- or space-separated; all without one")
    parser.add_argument("--rows", dest="named", default="", help="the same, as an option")
    parser.add_argument("--rounds", type=int, help="compared rounds, instead of each row's own number")
    parser.add_argument("--again", action="store_true", help="measure anew instead of going on where the last run stopped")
    parser.add_argument("--list", action="store_true", help="say what would be run")
    parser.add_argument("--report", action="store_true", help="only write BENCHMARKS.md")
    arguments = parser.parse_args()
    chosen = rows.chosen(",".join([*arguments.rows, arguments.named]))
    file = ResultsFile(places.RESULTS)
    if not arguments.report:
        _print_plan(run.plan(chosen, arguments.rounds))
        if arguments.list:
            return
        _print_peers(chosen)
        try:
            with _alone():
                asyncio.run(run.Runner(file, rounds=arguments.rounds, again=arguments.again).run(chosen))
        except KeyboardInterrupt:
            raise SystemExit("stopped; the same command goes on from here") from None
    report.write(file)
    print(f"wrote {places.REPORT}")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two benchmarks at once measure each other. A SIGTERM ends us as Ctrl-C does, so that no started server is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    places.PEERS.mkdir(parents=True, exist_ok=True)
    with open(places.PEERS / "bench.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("another benchmark is running on this machine; wait for its end") from None
        yield


def _print_plan(planned: list[tuple[Row, int, float]]) -> None:
    for row, number, minutes in planned:
        print(f"{row.key:16} {number} rounds  about {minutes:5.1f} min   {row.title}")
    print(f"{'':16} together about {sum(minutes for *_, minutes in planned):.0f} min on an otherwise idle machine")


def _print_peers(chosen: Iterable[Row]) -> None:
    """Build those that the rows need before the clock runs. A peer that cannot be had is said so, in the rows too."""
    needed = {kind for row in chosen for kind in row.kinds()}
    for kind, make in {"llama-server": peers.llama_server, "ollama": peers.ollama}.items():
        if kind not in needed:
            continue
        try:
            print(make().version)
        except peers.PeerMissing as missing:
            print(missing)


if __name__ == "__main__":
    main()
