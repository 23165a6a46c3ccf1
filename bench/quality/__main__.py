"""`python -m bench.quality [folder of the data]`: every trial in turn; each writes its section of docs/reference/quality.md."""

import asyncio
import sys
from pathlib import Path

from bench.quality import extractive, grounding, retrieval
from bench.quality.page import put


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
    if not folder.is_dir():
        raise SystemExit(f"no evaluation data at {folder}: give the folder as an argument")
    put("grounding", grounding.section(folder))
    put("extractive", extractive.section(folder))
    put("retrieval", asyncio.run(retrieval.measure(folder, None)))


if __name__ == "__main__":
    main()
