"""How fast a T5 samples here and by transformers' `generate`, in turns.

    python benchmarks/generation/sample.py --json sample.json

Random weights of T5 v1.1 small (float32, 32,128 rows), a batch of 64 prompts, temperature 1 with top-p 0.95
and with top-k 50. All write `--tokens` tokens: here no end of sequence can be drawn, there `min_new_tokens`
forbids it, so both do the same work. `--quick` takes a tiny model.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: what is imported from is the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax
import numpy as np
from flax import linen as nn
from rich.console import Console
from rich.table import Table

from benchmarks.common.environment import environment
from benchmarks.common.timing import Patience, alternate, warm_up
from distill_jax.files import write_json
from distill_jax.generate.sampler import Alphabet, SamplingBatch, make_sampler
from distill_jax.generate.settings import SamplingSettings
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config

SMALL = T5Config(vocab_size=32_128)  # T5 v1.1 small is what the other fields' defaults describe
TINY = SMALL.replace(vocab_size=512, d_model=32, d_kv=8, d_ff=64, num_heads=4)
SETTINGS = {"top-p 0.95": {"top_p": 0.95}, "top-k 50": {"top_k": 50}}
TARGET = 2.0


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--source", type=int, default=16, help="tokens of a prompt")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no_peers", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    config = TINY if options.quick else SMALL
    params = nn.unbox(jax.jit(T5(config).initial)(jax.random.key(0)))
    prompts = np.random.default_rng(0).integers(3, 500, (options.batch, options.source))
    prompts[:, -1] = 1
    console = Console()
    table = Table("setting", "sampler", "sentences/s", "times transformers", "target")
    results: dict[str, Any] = {}
    for name, fields in SETTINGS.items():
        functions = {"distill_jax": ours(config, params, prompts, options.tokens, fields)}
        if not options.no_peers:
            peer = transformers_generate(config, params, prompts, options.tokens, fields)
            if peer is None:
                console.print("transformers or torch is not installed: left out")
            else:
                functions["transformers"] = peer
        warm_up(functions)
        timings = alternate(functions, Patience(rounds=options.rounds, most=60.0))
        for sampler, timing in timings.items():
            rate = options.batch / timing.median
            other = timings.get("transformers")
            ratio = None if other is None else other.median / timing.median
            results[f"{name}, {sampler}"] = {
                "sentences_per_second": rate,
                "seconds": timing.seconds,
                "times_transformers": ratio,
            }
            shown = "" if ratio is None else f"{ratio:.2f}"
            target = f"≥ {TARGET:g}" if sampler == "distill_jax" else ""
            table.add_row(name, sampler, f"{rate:.1f}", shown, target)
    console.print(table)
    if options.json:
        about = environment(options, "torch", "transformers")
        write_json(options.json, {"environment": about, "results": results})


def ours(
    config: T5Config, params: Any, prompts: np.ndarray, tokens: int, fields: dict[str, Any]
) -> Callable[[], Any]:
    """Samples a batch here; the end of sequence is none of the ids that may be written."""
    rows = config.vocab_size
    is_text = np.ones(rows, bool)
    is_text[:2] = False
    alphabet = Alphabet(is_text, np.full(rows, -1, np.int32), np.asarray(-1, np.int32))
    batch = SamplingBatch(
        prompts.astype(np.int32),
        np.ones(prompts.shape, bool),
        np.arange(len(prompts), dtype=np.int32),
        np.zeros(len(prompts), np.int32),
    )
    sampler = make_sampler(T5(config), SamplingSettings(max_tokens=tokens, **fields))
    return lambda: sampler(params, batch, alphabet, jax.random.key(0)).tokens


def transformers_generate(
    config: T5Config, params: Any, prompts: np.ndarray, tokens: int, fields: dict[str, Any]
) -> Callable[[], Any] | None:
    """Samples a batch in PyTorch with the same weights; None where it is not installed."""
    try:
        import torch
        import transformers
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        write_hf(Path(folder) / "model", config, params)
        model = transformers.T5ForConditionalGeneration.from_pretrained(Path(folder) / "model")
    model.eval()
    ids = torch.from_numpy(prompts)
    cut = {"top_k": 0, "top_p": 1.0, **fields}

    def run() -> Any:
        with torch.inference_mode():
            return model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                **cut,
            ).numpy()

    return run


if __name__ == "__main__":
    main()
