"""`t5x.train` from an exported checkpoint, beside our own step on the very same batches.

Where t5x does not import, this is skipped.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from distill_jax.data import demo
from distill_jax.distill.language_model import LanguageModel, LanguageModelLoss
from distill_jax.inference.sent import SentPredictor
from distill_jax.interop.t5x.checkpoint import T5xCheckpoint
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import save_model
from distill_jax.model_dir.export_t5x import export_t5x
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging import LabelSet
from distill_jax.train.optimizers import Adafactor
from distill_jax.train.state import TrainState
from distill_jax.train.step import make_step
from distill_jax.vocab import ByteVocabulary
from tests.in_t5x import needs_t5x, sent_model
from tests.tiny import t5_params

needs_t5x()

TASK = "demo_gold60_dev20_seed7"
# Texts of one byte, for tagging alone: after few steps longer ones would hardly have a probability.
LETTERS = LabelSet(
    demo.LABELS.names, tuple(chr(ord("a") + number) for number in range(len(demo.LABELS.names)))
)
LEARNING_RATE = 1e-3  # as in finetune.gin of t5x
STEPS = 10
LENGTH = 160  # of the sentences to tag, in bytes, with their sentinels; and of their tags
SETTINGS = LanguageModelLoss(label_smoothing=0.1, z_loss=1e-4)
# All axes are at least 128, Adafactor's least to be factored: t5x factors the kernels of scanned layers
# whatever their size. Its mesh on a CPU splits heads over all devices, of which tests have eight.
V1_1 = T5Config(
    vocab_size=384,
    d_model=128,
    d_kv=16,
    d_ff=128,
    num_heads=8,
    num_encoder_layers=1,
    num_decoder_layers=2,
    dropout_rate=0.0,
)
CONFIGS = {
    "v1.1": V1_1,
    "v1.0": V1_1.replace(tied_embedding=True, activation="relu", gated=False),
    "umT5": V1_1.replace(relative_bias_per_layer=True),
}


class Trained(NamedTuple):
    """What `t5x.train` did: `params` at the end and `losses` of its steps, the `batches` it had, and
    where it began and ended."""

    config: T5Config
    model: Any
    params: Any
    losses: list[float]
    batches: list[dict[str, np.ndarray]]
    start: Path
    end: Path


@pytest.fixture(scope="module", params=CONFIGS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    import tasks  # noqa: F401  (registers them)

    config, folder = CONFIGS[request.param], tmp_path_factory.mktemp("t5x")
    params = jax.tree.map(lambda leaf: leaf * 0.1 if leaf.ndim > 1 else leaf, t5_params(config))
    save_model(folder / "model", Model(config, params, ByteVocabulary(), demo.LABELS))
    export_t5x(folder / "model", folder / "start")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_JAX_VOCABULARY", "byte")
        return train_in_t5x(config, folder)


def train_in_t5x(config: T5Config, folder: Path) -> Trained:
    from t5x import partitioning, trainer, utils
    from t5x.train import train

    from distill_jax.data.seqio_lookup import task_vocabulary

    model = sent_model(
        config,
        LETTERS,
        task_vocabulary(TASK),
        label_smoothing=SETTINGS.label_smoothing,
        z_loss=SETTINGS.z_loss,
        loss_normalizing_factor="NUM_REAL_TARGET_TOKENS",
    )
    data = utils.DatasetConfig(
        mixture_or_task_name=TASK,
        task_feature_lengths={"inputs": 256, "targets": 256},
        split="gold",
        batch_size=8,
        shuffle=True,
        seed=1,
        pack=True,
    )
    losses: list[float] = []

    class Record(trainer.BaseAction):
        def run(self, train_state: Any, metrics_by_task: Any) -> bool:
            losses.append(float(metrics_by_task["train"]["loss"].value))
            return False

    start, run = folder / "start" / "checkpoint_0", folder / "run"
    _, state = train(
        model=model,
        train_dataset_cfg=data,
        train_eval_dataset_cfg=None,
        infer_eval_dataset_cfg=None,
        checkpoint_cfg=utils.CheckpointConfig(
            restore=utils.RestoreCheckpointConfig(
                path=str(start),
                mode="specific",
                dtype="float32",
                fallback_to_scratch=True,
                assignment_map=((r"^state/param_states.*$", None),),
            ),
            save=utils.SaveCheckpointConfig(period=STEPS, dtype="float32", save_dataset=False),
        ),
        partitioner=partitioning.PjitPartitioner(
            num_partitions=1, logical_axis_rules=partitioning.standard_logical_axis_rules()
        ),
        trainer_cls=lambda **given: trainer.Trainer(
            num_microbatches=None, learning_rate_fn=lambda step: LEARNING_RATE, **given
        ),
        model_dir=str(run),
        total_steps=STEPS,
        eval_steps=1,
        eval_period=STEPS,
        stats_period=1,
        random_seed=0,
        summarize_config_fn=lambda *given: None,
        concurrent_metrics=False,
        actions={"TRAIN": [Record()]},
    )
    again = utils.get_dataset(data, 0, 1, model.FEATURE_CONVERTER_CLS)
    batches = list(again.take(STEPS).as_numpy_iterator())
    return Trained(config, model, state.params, losses, batches, start, run / f"checkpoint_{STEPS}")


def test_losses_of_the_first_steps_are_ours(trained: Trained) -> None:
    objective = LanguageModel(T5(trained.config), SETTINGS)
    optimizer = Adafactor(LEARNING_RATE).make()
    params = jax.tree.map(jax.numpy.asarray, T5xCheckpoint(trained.start).read())
    state = TrainState(jax.numpy.int32(0), params, optimizer.init(params))
    step, losses = jax.jit(make_step(objective, optimizer)), []
    for batch in trained.batches:
        state, sums = step(state, batch, jax.random.key(0))
        total, weight = sums["loss"]
        losses.append(float(total / weight))
    assert len(losses) == STEPS
    assert losses[-1] < losses[0] - 0.1  # they are of a model that learns
    np.testing.assert_allclose(losses, trained.losses, rtol=0, atol=1e-4)


def test_what_it_trained_tags_as_here(trained: Trained) -> None:
    model, sentences = trained.model, [s.words for s in demo.generate("test", 8, 0)]
    own = SenTFormat(ByteVocabulary(), LETTERS)
    tokens = np.zeros((len(sentences), LENGTH), np.int32)
    for row, words in enumerate(sentences):
        ids = own.encode_input(words)
        tokens[row, : len(ids)] = ids
    batch = {
        "encoder_input_tokens": tokens,
        "decoder_input_tokens": np.zeros((len(sentences), LENGTH), np.int32),
    }
    ids, aux = jax.jit(model.predict_batch_with_aux)(trained.params, batch)

    checkpoint = T5xCheckpoint(trained.end)
    predictor = SentPredictor(T5(checkpoint.config), own)
    expected = predictor.predict(checkpoint.read(), sentences)
    assert min(float(prediction.posteriors.max()) for prediction in expected) < 0.9
    for row, prediction in enumerate(expected):
        length = len(prediction.tag_ids)
        np.testing.assert_array_equal(aux["tags"][row, :length], prediction.tag_ids)
        posteriors = aux["posteriors"][row, :length]
        np.testing.assert_allclose(posteriors, prediction.posteriors, atol=1e-4)
        wanted = own.encode_target(prediction.tag_ids)
        np.testing.assert_array_equal(ids[row, : len(wanted)], wanted)
