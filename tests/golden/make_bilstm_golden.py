"""Makes bilstm.npz: logits and gradients of a BiLSTM tagger computed by PyTorch.

    python tests/golden/make_bilstm_golden.py

Needs PyTorch; the test that reads the file does not. The model has the equations of
`distill_jax.models.bilstm` built from torch.nn.LSTM on packed sequences, with random weights in float64.
Stored, all float32 unless noted: `param/…` PyTorch's parameters (gates in the order i, f, g, o; two
biases), `word_ids`, `char_ids` (int32, padded with 0), `logits`, `cotangent`, and `gradient/…` =
d sum(logits * cotangent) / d parameter. Padded positions have zero logits.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

NUM_WORDS, NUM_CHARS, NUM_TAGS = 11, 7, 5
WORD_DIM, CHAR_DIM, CHAR_HIDDEN, HIDDEN, LAYERS = 6, 4, 3, 5, 2


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(NUM_WORDS, WORD_DIM)
        self.char_embedding = nn.Embedding(NUM_CHARS, CHAR_DIM)
        self.char_lstm = nn.LSTM(CHAR_DIM, CHAR_HIDDEN, bidirectional=True, batch_first=True)
        self.word_lstm = nn.LSTM(
            WORD_DIM + 2 * CHAR_HIDDEN,
            HIDDEN,
            num_layers=LAYERS,
            bidirectional=True,
            batch_first=True,
        )
        self.output = nn.Linear(2 * HIDDEN, NUM_TAGS)

    def forward(self, words: torch.Tensor, chars: torch.Tensor) -> torch.Tensor:
        lengths = (words != 0).sum(1)
        # Every real word of the stored input has at least one character.
        real_chars = chars[words != 0]
        packed = pack_padded_sequence(
            self.char_embedding(real_chars),
            (real_chars != 0).sum(1),
            batch_first=True,
            enforce_sorted=False,
        )
        _, (last, _) = self.char_lstm(packed)
        spelling = torch.zeros(*words.shape, 2 * CHAR_HIDDEN, dtype=last.dtype)
        spelling[words != 0] = torch.cat([last[0], last[1]], -1)
        inputs = torch.cat([self.word_embedding(words), spelling], -1)
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(
            self.word_lstm(packed)[0], batch_first=True, total_length=words.shape[1]
        )
        return self.output(states) * (words != 0)[..., None]


def main() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Tagger().double()
    lengths, longest, width = [6, 1, 4], 7, 5
    words = np.zeros((len(lengths), longest), np.int32)
    chars = np.zeros((len(lengths), longest, width), np.int32)
    for row, length in enumerate(lengths):
        words[row, :length] = rng.integers(1, NUM_WORDS, length)
        for position in range(length):
            size = rng.integers(1, width + 1)
            chars[row, position, :size] = rng.integers(1, NUM_CHARS, size)
    logits = model(torch.tensor(words).long(), torch.tensor(chars).long())
    cotangent = torch.randn_like(logits)
    (logits * cotangent).sum().backward()
    arrays = {"logits": logits, "cotangent": cotangent}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        arrays[f"param/{name}"] = parameter
        arrays[f"gradient/{name}"] = parameter.grad
    stored = {name: array.detach().numpy().astype(np.float32) for name, array in arrays.items()}
    path = Path(__file__).with_name("bilstm.npz")
    np.savez_compressed(path, word_ids=words, char_ids=chars, **stored)
    print(f"{path.name}: {path.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
