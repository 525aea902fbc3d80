"""Print every benchmark: `python -m benchmarks [name ...]`."""

from __future__ import annotations

import sys

from benchmarks import (
    capture,
    compare,
    decode,
    expectations,
    load,
    playground,
    prompts,
    replay,
    sessions,
    spans,
    startup,
    suite,
)

BENCHMARKS = {
    "replay": replay,
    "load": load,
    "decode": decode,
    "suite": suite,
    "startup": startup,
    "capture": capture,
    "spans": spans,
    "expectations": expectations,
    "prompts": prompts,
    "compare": compare,
    "sessions": sessions,
    "playground": playground,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, all of them without a name."""
    if unknown := set(names) - set(BENCHMARKS):
        print(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        print(BENCHMARKS[name].__doc__)
        for line in BENCHMARKS[name].lines():
            print(f"  {line}", flush=True)
        print()
    return 0


raise SystemExit(main(sys.argv[1:]))
