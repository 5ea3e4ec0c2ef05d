"""spaCy's `ner` on a blank English pipeline, trained for so many processor seconds: see `equal_time.py`."""

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import spacy
from spacy.tokens import Doc
from spacy.training import Example, biluo_tags_to_spans, iob_to_biluo
from spacy.util import compounding, fix_random_seed, minibatch

from benchmarks.peers.sentences import read


def tags_of(doc: Doc) -> list[str]:
    return [t.ent_iob_ if t.ent_iob_ in ("", "O") else f"{t.ent_iob_}-{t.ent_type_}" for t in doc]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("train", "dev", "test", "out"):
        parser.add_argument(name)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fix_random_seed(options.seed)
    nlp = spacy.blank("en")
    ner: Any = nlp.add_pipe("ner")

    def example(words: list[str], tags: list[str]) -> Example:
        reference = Doc(nlp.vocab, words)
        reference.ents = biluo_tags_to_spans(reference, iob_to_biluo(tags))
        return Example(Doc(nlp.vocab, words), reference)

    examples = [example(*one) for one in read(options.train)]
    dev = [example(*one) for one in read(options.dev)]
    for one in examples:
        for span in one.reference.ents:
            ner.add_label(span.label_)
    optimizer = nlp.initialize(lambda: examples)
    best, epochs = (-1.0, b""), 0
    while time.process_time() < options.seconds:
        random.shuffle(examples)
        for batch in minibatch(examples, compounding(4.0, 32.0, 1.001)):
            nlp.update(batch, sgd=optimizer, drop=0.2)
        epochs += 1
        with nlp.use_params(optimizer.averages):
            f1 = nlp.evaluate(dev)["ents_f"] or 0.0
            if f1 > best[0]:
                best = (f1, nlp.to_bytes())
    nlp.from_bytes(best[1])
    docs = nlp.pipe(Doc(nlp.vocab, words) for words, _ in read(options.test))
    lines = (json.dumps({"tags": [tag or "O" for tag in tags_of(doc)]}) + "\n" for doc in docs)
    Path(options.out).write_text("".join(lines))
    print(f"spaCy: {epochs} epochs, dev F1 {100 * best[0]:.1f}")


if __name__ == "__main__":
    main()
