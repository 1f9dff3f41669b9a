"""Run all tests in two processes side by side (`make test`): most of the time most of them wait, and no core is busy.

For some of the tests call pytest itself.
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
#: Directories whose tests take half of the time; all others are the other half, those that are still to come too.
FIRST: Final = ("tests/end_to_end", "tests/streams")
#: What pytest is told in each process.
HALVES: Final = (FIRST, ("tests", *(f"--ignore={each}" for each in FIRST)))
#: pytest may write a line as long as what it compares.
_LINE_BYTES: Final = 2**26


def main() -> int:
    """Print the lines of both as they come; 0 if both passed. Ctrl-C reaches both, which then stop their servers."""
    signal.signal(signal.SIGINT, lambda *_: None)
    commands = [[sys.executable, "-m", "pytest", *half] for half in HALVES]
    return max(asyncio.run(run_side_by_side(commands)))


async def run_side_by_side(commands: Sequence[Sequence[str]]) -> list[int]:
    """Run commands in the root of the repository, each line with the number of its command; return how they ended."""
    return await asyncio.gather(*(_run(number, each) for number, each in enumerate(commands, start=1)))


async def _run(number: int, command: Sequence[str]) -> int:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=_LINE_BYTES,
    )
    assert process.stdout is not None
    async for line in process.stdout:
        sys.stdout.write(f"{number}: {line.decode(errors='replace')}")
        sys.stdout.flush()
    # What a signal ended has a negative code, and did not pass.
    return abs(await process.wait())


if __name__ == "__main__":
    sys.exit(main())
