"""Logs: a JSON object a line on standard error. Texts and tokens never stand in one."""

import json
import sys
import time
from typing import Any, Literal

Level = Literal["info", "warning", "error"]


def log(event: str, level: Level = "info", **fields: Any) -> None:
    """Writes a line: `time` (UTC), `level`, `event` and the fields, those that are None left out."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    record = {"time": f"{stamp}.{int(now * 1000) % 1000:03d}Z", "level": level, "event": event}
    record |= {name: value for name, value in fields.items() if value is not None}
    try:
        # One call: lines of several threads do not mix.
        sys.stderr.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
        sys.stderr.flush()
    except (
        OSError,
        ValueError,
    ):  # nobody reads the log any more; requests are answered all the same
        return
