"""Fuzzes the readers: random sentences written in every format, mutated, and read again.

    python -m benchmarks.reading.fuzz --files 100000 --seed 0 [--minutes 30] [--keep DIR]

A third of the files are left as they were made and must come back word for word and tag for tag, or be
refused; the others have their bytes or lines changed in one to four places. For those:

* nothing but a `UserError` of one line may be raised, and it must begin with the file's name;
* what is read must account for all there is: every line that is not blank holds a word of a sentence
  or is counted in the report; every record gives its words. The count is made in
  `account.py`, independently of the readers.

Prints one JSON object with the counts. File number N of seed S is the same on every machine; those
that fail are named, and kept with `--keep`.
"""

import argparse
import json
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from benchmarks.reading.account import missing
from benchmarks.reading.files import FORMATS, NAMES, OF_TEXT, make_sentences
from distill_jax.data.readers import ReadOptions, ReadReport, read_sentences
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence

NASTY = (
    *(
        b"\r",
        b"\n",
        b"\t",
        b" ",
        b"\0",
        b"#",
        b"# x",
        b"-DOCSTART- O",
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
    ),
    *("\ufeff\u2028\u00a0\u3000\x0c\x1e\u200b".encode()[i : i + 3] for i in range(0, 18, 3)),
    *(
        b"\xff",
        b"\xc3",
        b"O",
        b"B-",
        b"I-x",
        b"o",
        b"1\t",
        b"null",
        b"-1",
        b"1e9",
        b"\\ud800",
        b"\r\r\n",
    ),
    *(b"\n\n", b"1-2\tx", b"\ttext", b"0"),
)


READING = ReadOptions(label_names=NAMES, text_words="blanks")
"""The words of the sentences written are those between blanks; what becomes of others is tested where
texts become words."""


def mutate(content: bytes, random: random.Random) -> bytes:
    """The content changed in one to four places: bytes, chunks or whole lines."""
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(content) + 1)
        to = min(len(content), at + random.randint(1, 12))
        lines = content.split(b"\n")
        first, second = random.randrange(len(lines)), random.randrange(len(lines))
        match random.randrange(9):
            case 0:
                content = content[:at] + bytes([random.randrange(256)]) + content[at + 1 :]
            case 1:
                content = content[:at] + content[to:]
            case 2 | 3:
                content = content[:at] + random.choice(NASTY) + content[at:]
            case 4:
                content = content[:at] + content[at:to] * 2 + content[to:]
            case 5:
                content = content[:at]
            case 6:
                lines[first], lines[second] = lines[second], lines[first]
                content = b"\n".join(lines)
            case 7:
                del lines[first]
                content = b"\n".join(lines)
            case 8:
                content = content.replace(*random.choice(_EVERYWHERE))
    return content


_EVERYWHERE = (
    *(
        (b"\n", b"\r\n"),
        (b"\n", b"\r"),
        (b"\n", b"\r\r\n"),
        (b"\t", b" "),
        (b" ", b"\t"),
        (b"O", b"o"),
    ),
    *((b"-", b"_"), (b"\t", b"\t\t"), (b"\n\n", b"\n"), (b" ", "\u00a0".encode()), (b" ", b"  ")),
    *((b"ner_tags", b"tags"), (b"tokens", b"words"), (b"label", b"labels"), (b"start", b"begin")),
)


def run_one(seed: int, number: int, folder: Path) -> tuple[str, str, bytes, str]:
    """What came of a file: `read`, `refused`, or what went wrong; its format, content and details."""
    dice = random.Random(f"{seed}/{number}")
    kind = dice.choice(list(FORMATS))
    suffix, write = FORMATS[kind]
    sentences = make_sentences(dice)
    if kind.startswith(OF_TEXT):
        sentences = [
            Sentence(tuple(word.replace("\u00a0", "") for word in one.words), one.tags)
            for one in sentences
        ]
    if kind == "tsv":  # lines of one word each would be columns
        sentences.append(Sentence(("two", "words"), ("O", "O")))
    if kind == "text":  # lines that all end in what looks like a tag would be columns
        sentences.insert(
            0, Sentence((*sentences[0].words, "end"), (*(sentences[0].tags or ()), "O"))
        )
    content = write(sentences).encode()
    is_whole = number % 3 == 0
    if not is_whole:
        content = mutate(content, dice)
        suffix = (
            suffix
            if dice.random() < 0.7
            else dice.choice(["txt", "conll", "tsv", "jsonl", "json", "x"])
        )
    path = folder / f"fuzzed.{suffix}"
    path.write_bytes(content)
    report = ReadReport()
    options = READING
    try:
        given = list(read_sentences(path, options=options, report=report))
    except UserError as error:
        message = str(error)
        if (
            not message.startswith(f"{path}:")
            or "\n" in message
            or len(message) < len(str(path)) + 20
        ):
            return "bad message", kind, content, message
        return "refused", kind, content, message
    except Exception:
        return "traceback", kind, content, traceback.format_exc()
    if is_whole:
        expected = [Sentence(one.words) for one in sentences] if kind == "text" else sentences
        if given != expected:
            return "read wrongly", kind, content, f"{given}\n{expected}"
        return "read", kind, content, ""
    lost = missing(content, given, report)
    return ("read", kind, content, "") if lost is None else ("silent loss", kind, content, lost)


def main() -> None:
    """Parses the command line and fuzzes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    start, counts, failed = time.monotonic(), Counter[str](), 0
    whole_refused: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        for number in range(options.files):
            if time.monotonic() - start > 60 * options.minutes:
                break
            outcome, kind, content, details = run_one(options.seed, number, Path(name))
            counts[outcome] += 1
            if outcome == "refused" and number % 3 == 0:
                whole_refused[f"{kind}: {re.sub(r'^[^ ]* ', '', details)[:60]}"] += 1
            if outcome not in ("read", "refused"):
                failed += 1
                print(f"{outcome}: {kind}, file {number}\n{details}", file=sys.stderr)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{options.seed}-{number}").write_bytes(content)
                    (options.keep / f"{options.seed}-{number}.txt").write_text(
                        f"{outcome}: {kind}\n{details}"
                    )
    result = {
        "seed": options.seed,
        "files": sum(counts.values()),
        "minutes": round((time.monotonic() - start) / 60, 2),
        **{name: counts[name] for name in ("read", "refused", "bad message", "traceback")},
        **{name: counts[name] for name in ("read wrongly", "silent loss")},
        "whole files refused": dict(whole_refused.most_common(12)),
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
