"""A training step of a T5 in Hugging Face transformers: PyTorch's autograd and its AdamW."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import T5ForConditionalGeneration
from transformers.utils import logging

from benchmarks.decoding.peers import Attention


class TransformersTraining:
    """A T5 under training, with the weights of `distill_jax.interop.hf.checkpoint.write_hf`."""

    def __init__(
        self, directory: str | Path, *, attention: Attention, learning_rate: float, device: str
    ) -> None:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        model: Any = T5ForConditionalGeneration.from_pretrained(
            directory, dtype=torch.float32, attn_implementation=attention
        )
        self._model = model.to(device)
        self._device = device
        # `fused` is the fastest of PyTorch's, on a CPU too.
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=learning_rate, eps=1e-8, weight_decay=0.0, fused=True
        )

    def batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """The arguments of the model, on the device: of rows with one example each."""

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.asarray(values).astype(np.int64)).to(self._device)

        real = np.asarray(batch["decoder_segment_ids"]) > 0
        return {
            "input_ids": tensor(batch["encoder_input_tokens"]),
            "attention_mask": tensor(np.asarray(batch["encoder_segment_ids"]) > 0),
            "decoder_input_ids": tensor(batch["decoder_input_tokens"]),
            "labels": tensor(np.where(real, batch["decoder_target_tokens"], -100)),
        }

    @torch.inference_mode()
    def loss(self, batch: Mapping[str, np.ndarray]) -> float:
        """The mean loss of a target token, without dropout."""
        self._model.eval()
        return float(self._model(**self.batch(batch), use_cache=False).loss)

    def stepper(self, batch: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """What does one training step on the batch when called."""
        features = self.batch(batch)
        self._model.train()

        def step() -> Any:
            self._optimizer.zero_grad(set_to_none=True)
            loss = self._model(**features, use_cache=False).loss
            loss.backward()
            self._optimizer.step()
            if self._device != "cpu":
                torch.cuda.synchronize()
            return float(loss.detach())

        return step
