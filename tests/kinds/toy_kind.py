"""A kind (logits linear in each word's vector) and a loss (on the first words), as CONTRIBUTING promises."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from distill_jax.configuration import setting
from distill_jax.data.distillation import word_batches
from distill_jax.distill.tags import TaggerDistillation, tag_cross_entropy
from distill_jax.inference import WordPredictor
from distill_jax.kinds.base import Learner, Lesson
from distill_jax.kinds.registry import register
from distill_jax.kinds.word_tagger import WordTaggerKind
from distill_jax.models.json_config import JsonConfig
from distill_jax.vocab import WordVocabulary


@dataclasses.dataclass(frozen=True)
class ToyConfig(JsonConfig):
    model_type = "toy"
    sizes = ("num_words", "num_chars", "num_tags")
    num_words: int = 0
    num_chars: int = 0
    num_tags: int = 0
    width: int = 4


class ToyTagger(nn.Module):
    config: ToyConfig

    def initial(self, key: Any) -> Any:
        return self.init(key, jnp.ones((1, 2), jnp.int32), None)["params"]

    @nn.compact
    def __call__(self, word_ids: Any, char_ids: Any, *, deterministic: bool = True) -> Any:
        words = nn.Embed(self.config.num_words, self.config.width, name="words")(word_ids)
        return nn.Dense(self.config.num_tags)(words)


@dataclasses.dataclass(frozen=True)
class ToyStudent:
    kind: ClassVar[str] = "toy"
    width: int = setting(4, macro="TOY_WIDTH")

    def learner(self, lesson: Lesson) -> Learner:
        words = WordVocabulary.build(target.words for target in lesson.targets)
        config = ToyConfig(words.num_words, words.num_chars, lesson.labels.num_tags, self.width)
        model = ToyTagger(config)
        shape = {"batch_size": lesson.training.batch_size, "seed": lesson.training.seed}
        batches = word_batches(lesson.targets, words, config.num_tags, **shape)
        predictor = WordPredictor(model, words, lesson.labels)
        return Learner(config, words, TaggerDistillation(model, lesson.loss), batches, predictor)


class ToyKind(WordTaggerKind):
    name = "toy"
    config_type = ToyConfig
    settings = (ToyStudent,)
    embedding_path = ("words", "embedding")

    def module(self, config: ToyConfig) -> ToyTagger:
        return ToyTagger(config)


register(ToyKind())


@dataclasses.dataclass(frozen=True)
class ToyLoss:
    share: float = setting(0.5, macro="TOY_SHARE")
    has_kl: ClassVar[bool] = False

    def sums(self, logits_BxLxK: Any, targets: Any) -> dict[str, Any]:
        length = targets["tags"].shape[1]
        weights = targets["tag_weights"] * (jnp.arange(length) < self.share * length)
        return {"loss": tag_cross_entropy(logits_BxLxK, targets["tags"], weights)}
