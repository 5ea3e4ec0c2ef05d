"""A BERT as transformers' token classifier, trained for so many processor seconds: see `equal_time.py`.

AdamW, 1e-4, 8 sentences a step; the learning rate falls to 0 over the time there is. The tag of a word is
that of its first subword.
"""

import argparse
import copy
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    root = Path(__file__).resolve().parents[2]
    sys.path[:1] = [str(root), str(root / "runtime")]

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from benchmarks.peers.sentences import Sentences, read
from distill_jax_runtime.spans import spans_from_iob2

BATCH = 8
RATE = 1e-4


class Classifier:
    """The model with its tokenizer and tags."""

    def __init__(self, path: str, tags: list[str]) -> None:
        self.tags = tags
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model: Any = AutoModelForTokenClassification.from_pretrained(
            path, num_labels=len(tags)
        )

    def batch(self, sentences: Sentences) -> tuple[Any, torch.Tensor]:
        """Token ids, and for each token its word's tag (-100: none)."""
        inputs = self.tokenizer(
            [words for words, _ in sentences],
            is_split_into_words=True,
            truncation=True,
            padding=True,
            return_tensors="pt",
        )
        wanted = torch.full(inputs["input_ids"].shape, -100)
        for row, (_, tags) in enumerate(sentences):
            before = None
            for column, word in enumerate(inputs.word_ids(row)):
                if word is not None and word != before and tags[word] in self.tags:
                    wanted[row, column] = self.tags.index(tags[word])
                before = word
        return inputs, wanted

    @torch.inference_mode()
    def predict(self, sentences: Sentences) -> list[list[str]]:
        self.model.eval()
        found = []
        for start in range(0, len(sentences), 32):
            some = sentences[start : start + 32]
            inputs, _ = self.batch(some)
            best = self.model(**inputs).logits.argmax(-1)
            for row, (words, _) in enumerate(some):
                tags = ["O"] * len(words)
                before = None
                for column, word in enumerate(inputs.word_ids(row)):
                    if word is not None and word != before:
                        tags[word] = self.tags[int(best[row, column])]
                    before = word
                found.append(tags)
        self.model.train()
        return found


def score(classifier: Classifier, sentences: Sentences) -> float:
    right = given = wanted = 0
    for (_, tags), found in zip(sentences, classifier.predict(sentences), strict=True):
        gold, predicted = set(spans_from_iob2(tags)), set(spans_from_iob2(found))
        right, given, wanted = (
            right + len(gold & predicted),
            given + len(predicted),
            wanted + len(gold),
        )
    return 2 * right / max(given + wanted, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("train", "dev", "test", "out"):
        parser.add_argument(name)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    torch.manual_seed(options.seed)
    train, dev, test = map(read, (options.train, options.dev, options.test))
    classifier = Classifier(
        options.model, sorted({tag for _, tags in train for tag in tags} | {"O"})
    )
    model = classifier.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    best, state, epochs = -1.0, None, 0
    model.train()
    while (spent := time.process_time()) < options.seconds:
        random.shuffle(train)
        for start in range(0, len(train), BATCH):
            for group in optimizer.param_groups:
                group["lr"] = RATE * max(0.0, 1 - spent / options.seconds)
            inputs, wanted = classifier.batch(train[start : start + BATCH])
            optimizer.zero_grad()
            model(**inputs, labels=wanted).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        epochs += 1
        if (f1 := score(classifier, dev)) > best:
            best, state = f1, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    lines = (json.dumps({"tags": tags}) + "\n" for tags in classifier.predict(test))
    Path(options.out).write_text("".join(lines))
    print(f"transformers: {epochs} epochs, dev F1 {100 * best:.1f}")


if __name__ == "__main__":
    main()
