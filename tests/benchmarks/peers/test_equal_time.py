"""The comparison at equal processor time: its score, and the time of a child."""

import json
import sys
from pathlib import Path

from benchmarks.peers.equal_time import f1_of, processor_seconds


def test_the_score_is_that_of_spans(tmp_path: Path) -> None:
    gold, predicted = tmp_path / "gold.jsonl", tmp_path / "predicted.jsonl"
    lines = [["B-a", "I-a", "O"], ["B-b"]], [["B-a", "O", "O"], ["B-b"]]
    for path, tags in zip((gold, predicted), lines, strict=True):
        path.write_text("".join(json.dumps({"tags": each}) + "\n" for each in tags))
    assert f1_of(gold, predicted) == 0.5


def test_the_time_is_that_of_the_child() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    assert 0.3 <= processor_seconds([sys.executable, "-c", busy]) < 5
    assert processor_seconds([sys.executable, "-c", "import time; time.sleep(0.5)"]) < 0.4
