"""A sweep that writes, before Ray ends, what it left there: python search_on_workers.py FILE OVERRIDE ..."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestration import sweep
from orchestration.cli.entry import run_entry
from orchestration.cluster.connect import connected
from orchestration.driver import sweep_run


@contextmanager
def watched(*arguments: Any, **keywords: Any) -> Iterator[Any]:
    with connected(*arguments, **keywords) as nodes:
        yield nodes
        import ray
        from ray.util import placement_group_table

        # Ray frees what a training held a moment after it ended.
        for _ in range(600):
            groups = [group["state"] for group in placement_group_table().values()]
            free, total = (each.get("CPU", 0) for each in (ray.available_resources(), ray.cluster_resources()))
            if free == total and set(groups) <= {"REMOVED"}:
                break
            time.sleep(0.5)
        Path(sys.argv[1]).write_text(json.dumps({"groups": groups, "free": free, "total": total}))


if __name__ == "__main__":
    sweep_run.connected = watched  # type: ignore[attr-defined]
    sys.exit(run_entry(sys.argv[2:], sweep.main, str))
