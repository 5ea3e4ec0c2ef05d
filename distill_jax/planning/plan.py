"""The step of a Gin run as `train.aot.Plan`: built from the same bindings, with no data and no weights.

What the data of a run would decide (words of a sentence, tags, vocabularies) is taken from
`CompileShapes`. A model comes from the checkpoint's configuration where the checkpoint is there, else
from the bindings of `T5Config`; a teacher within the step from `teacher/T5Config`.
"""

import copy
import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh

from distill_jax.data.distillation import MAX_CHARS
from distill_jax.data.seq2seq import join_pairs
from distill_jax.distill.objectives import (
    Batch,
    DistillationWeights,
    EncoderDistillation,
    LanguageModel,
    Objective,
    SentDistillation,
    TaggerDistillation,
)
from distill_jax.distill.online import (
    OnlineDistillation,
    OnlineTeacher,
    TargetWriter,
    TokenDistillation,
)
from distill_jax.errors import UserError
from distill_jax.integers import round_up
from distill_jax.interop.hf.checkpoint import HfCheckpoint
from distill_jax.jobs.launch import configure
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.models.encoder_tagger import EncoderTagger
from distill_jax.models.layer_choice import encoder_tagger_config
from distill_jax.models.partitioning import Rules, partitioning
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config, T5Execution
from distill_jax.parallel.mesh import (
    batch_sharding,
    check_batch_size,
    logical_axis_rules,
    make_mesh,
    state_shardings,
)
from distill_jax.planning.compilation import Plan
from distill_jax.sentscore import (
    DecoderSettings,
    LabelTrie,
    Normaliser,
    SentScoreBatch,
    decode,
)
from distill_jax.train.state import TrainState, abstract_state, shardings_of
from distill_jax.train.step import StepOptions, make_step

_BOUND = "(what the Gin scope teacher binds)"
# What a run needs and its step does not depend on, or what the bindings can stand in for.
_STAND_INS: Mapping[str, str | None] = {
    "MODEL_DIR": "compile",
    "MIXTURE_OR_TASK_NAME": "compile",
    "TEACHER_LABELS": "compile",
    "TEACHER_EMBEDDING": None,
    "VOCABULARY": None,
    "INITIAL_CHECKPOINT_PATH": None,
    "TEACHER": _BOUND,
}
_MISSING = re.compile(r"gin: (\w+) is required by")


@gin.configurable
@dataclasses.dataclass(frozen=True)
class CompileShapes:
    """What the data of a run decide, for where there are none.

    `words` of a sentence, `labels` and the `tag_tokens` that each is written with (those of SNIPS, about),
    `input_tokens` of a sentence in the SenT′ format (a fine-tuning run says itself), the student's
    `num_words` and `num_chars`, and `vocab_size`, embedding rows where nothing else says how many.
    """

    words: int = 32
    labels: int = 39
    tag_tokens: int = 3
    input_tokens: int = 128
    num_words: int = 20_000
    num_chars: int = 100
    vocab_size: int = 32_128

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise UserError(f"CompileShapes: {name} is {value}; it must be at least 1")

    @property
    def num_tags(self) -> int:
        return self.labels + 2

    def sentinels(self, rows: int) -> tuple[int, ...]:
        """Ids of as many sentinels as the words need, the last rows, as in T5's vocabulary."""
        return tuple(rows - 1 - index for index in range(self.words + 1))

    def tags(self, rows: int) -> tuple[tuple[int, ...], ...]:
        """Token ids of O, I and the labels' texts, which begin differently."""
        free = rows - self.words - 4
        if free < self.labels:
            raise UserError(
                f"CompileShapes: {self.labels} labels and {self.words + 1} sentinels do not fit "
                f"{rows} embedding rows; bind fewer labels or words"
            )
        rest = tuple(4 + index % free for index in range(self.tag_tokens - 1))
        return ((2,), (3,), *((4 + label, *rest) for label in range(self.labels)))


@gin.configurable
def label_batch(
    *,
    batch_size: int = gin.REQUIRED,
    initial_checkpoint_path: str | None = None,
    model: Callable[..., T5Config] | None = None,
    vocabulary: Any = None,
    execution: T5Execution | None = None,
    normaliser: Normaliser = "vocab",
    mesh: Mesh | None = None,
) -> None:
    """One batch of a teacher's SenTScores, as a job that `distill-jax compile` knows.

    To label sentences there is `distill-jax label`: running this raises `UserError`.
    """
    raise UserError("label_batch is for distill-jax compile; to label, run distill-jax label")


def configure_for_compile(gin_files: Sequence[str], bindings: Sequence[str]) -> None:
    """`launch.configure`, with stand-ins for what a run must be given and its step does not need."""
    given = list(bindings)
    for _ in range(1 + len(_STAND_INS)):
        try:
            configure(gin_files, given)
            return
        except UserError as error:
            missing = _MISSING.match(str(error))
            if not missing or missing[1] not in _STAND_INS:
                raise
            given.append(f"{missing[1]} = {_STAND_INS[missing[1]]!r}")


def configured_mesh(
    devices: Sequence[Any], slices: int | None = None, shape: Mapping[str, int] | None = None
) -> Mesh:
    """The mesh that Gin binds, over given devices; or one of another shape."""
    more: dict[str, Any] = dict(shape or {})
    if slices is not None:
        more["num_slices"] = slices
    return make_mesh(devices=devices, **more)


def plan_run(mesh: Mesh, *, batch_size: int | None = None) -> Plan:
    """The step of the job that Gin binds to `run.job`.

    Raises `UserError` if the job is not one that has a step, or the batch does not divide.
    """
    try:
        job = gin.query_parameter("run.job")
        name = job.selector.split(".")[-1]
    except (ValueError, AttributeError):
        raise UserError("the Gin files bind no run.job; see gin/runs/ for those that do") from None
    if name not in _PLANS:
        raise UserError(
            f"run.job is @{name}, which distill-jax compile does not know; it knows "
            f"{', '.join(_PLANS)}"
        )
    parameters = _Parameters(name)
    size = parameters["batch_size"] if batch_size is None else batch_size
    return _PLANS[name](parameters, CompileShapes(), mesh, size)


class _Parameters:
    """A job's parameters, each evaluated when it is asked for: some would read data."""

    def __init__(self, name: str) -> None:
        function = gin.get_configurable(name)
        self._name = name
        self._defaults = {
            parameter.name: parameter.default
            for parameter in inspect.signature(function).parameters.values()
        }
        self._bound = gin.get_bindings(name, resolve_references=False)

    def __getitem__(self, name: str) -> Any:
        if name in self._bound:
            # Gin evaluates references when it copies them.
            return copy.deepcopy(self._bound[name])
        value = self._defaults.get(name)
        if value is gin.REQUIRED:
            raise UserError(f"gin: {self._name}.{name} is required; bind it in the Gin file")
        return value

    def refers_to(self, name: str) -> str:
        """The configurable that a parameter is bound to, empty if it is a plain value."""
        return str(getattr(self._bound.get(name), "selector", "")).split(".")[-1]


def _bound(name: str, default: Any = None) -> Any:
    try:
        return gin.query_parameter(name)
    except ValueError:
        return default


def _t5_config(parameters: _Parameters, shapes: CompileShapes) -> T5Config:
    path = parameters["initial_checkpoint_path"]
    encoder, decoder = parameters["encoder_layers"], parameters["decoder_layers"]
    config = HfCheckpoint(Path(path)).config if path else _random_t5(parameters, shapes)
    if encoder is not None:
        config = config.replace(num_encoder_layers=len(encoder))
    if decoder is not None:
        config = config.replace(num_decoder_layers=len(decoder))
    if parameters["dropout_rate"] is not None:
        config = config.replace(dropout_rate=parameters["dropout_rate"])
    execution = parameters["execution"]
    return config if execution is None else execution.apply(config)


def _random_t5(parameters: _Parameters, shapes: CompileShapes) -> T5Config:
    if not _binds("T5Config"):
        raise UserError(
            "which model to compile is not said: give INITIAL_CHECKPOINT_PATH, or a second --gin_file "
            "that describes one, as gin/models/t5_1_1_large.gin"
        )
    model = parameters["model"] or gin.get_configurable("T5Config")
    rows = _bound("T5Config.vocab_size")
    if rows is None and parameters.refers_to("vocabulary") == "vocabulary_file":
        vocabulary = parameters["vocabulary"]
        rows = None if vocabulary is None else round_up(vocabulary.size, 128)
    config: T5Config = model(vocab_size=shapes.vocab_size if rows is None else rows)
    return config


def _binds(name: str, scope: str = "") -> bool:
    with gin.config_scope(scope or None):
        return bool(gin.get_bindings(name, resolve_references=False, inherit_scopes=not scope))


def _teacher_config(path: str, shapes: CompileShapes) -> T5Config:
    if path == _BOUND:
        if not _binds("T5Config", "teacher"):
            raise UserError(
                "the teacher within the step is not said: give TEACHER, or bind teacher/T5Config.d_model "
                "and so on"
            )
        with gin.config_scope("teacher"):
            rows = {} if _binds_rows() else {"vocab_size": shapes.vocab_size}
            config: T5Config = gin.get_configurable("T5Config")(**rows)
    else:
        config = HfCheckpoint(Path(path)).config
    if _binds("T5Execution", "teacher"):
        with gin.config_scope("teacher"):
            config = gin.get_configurable("T5Execution")().apply(config)
    return config


def _binds_rows() -> bool:
    return "vocab_size" in gin.get_bindings("T5Config", resolve_references=False)


def _rows(mesh: Mesh, size: int, features: Mapping[str, tuple[tuple[int, ...], Any]]) -> Any:
    """An abstract batch: name → (shape of a row, dtype)."""
    place = batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct((size, *shape), dtype, sharding=place)
        for name, (shape, dtype) in features.items()
    }


def _seq2seq_features(lengths: Mapping[str, int]) -> dict[str, tuple[tuple[int, ...], Any]]:
    row = join_pairs([], lengths, pad_id=0, start_id=0)
    return {name: (array.shape, array.dtype) for name, array in row.items()}


def _target_features(words: int, num_tags: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    return {
        "tags": ((words,), jnp.int32),
        "tag_weights": ((words,), jnp.float32),
        "kl_weights": ((words,), jnp.float32),
        "teacher_scores": ((words, num_tags), jnp.float32),
    }


def _train(
    name: str,
    parameters: _Parameters,
    mesh: Mesh,
    size: int,
    objective_of: Callable[[bool], Objective],
    features: Mapping[str, tuple[tuple[int, ...], Any]],
    *,
    config: T5Config | None = None,
    teacher: OnlineTeacher | T5 | None = None,
    unknown_trips: int = 1,
) -> Plan:
    """A training step. `objective_of(plain)` is the objective, without rematerialisation if plain."""
    options = StepOptions()
    rules = logical_axis_rules()
    check_batch_size(size, mesh, accumulate=options.accumulate)
    optimizer = parameters["optimizer"]
    objective = objective_of(False)
    state = abstract_state(objective, optimizer, mesh)
    batch = _rows(mesh, size, features)
    key = jax.eval_shape(lambda: jax.random.key(0))
    parts = {
        "parameters": state.params,
        "optimizer state": state.opt_state,
        "batch": batch,
    }

    def step_of(objective: Any, *, online: bool) -> Callable[..., Any]:
        def step(state: TrainState, batch: Batch, key: jax.Array, frozen: Any = None) -> Any:
            bound = objective.bind(frozen) if online else objective
            made = make_step(
                bound,
                optimizer,
                options,
                mesh=mesh,
                rules=rules,
                gradient_shardings=shardings_of(places_of_state).params,
            )
            return made(state, batch, key)

        return step

    places_of_state = state
    arguments: tuple[Any, ...] = (state, batch, key)
    places: tuple[Any, ...] = (shardings_of(state), batch_sharding(mesh, rules), None)
    online = teacher is not None
    if online:
        with gin.config_scope("teacher"):
            frozen = _abstract_params(objective.init_teacher, mesh, logical_axis_rules())  # type: ignore[attr-defined]
        parts["teacher parameters"] = frozen
        arguments, places = (*arguments, frozen), (*places, shardings_of(frozen))
    jitted = jax.jit(
        step_of(objective, online=online),
        in_shardings=places,
        out_shardings=(shardings_of(state), None),
        donate_argnums=0,
    )
    remat = config is not None and config.remat != "none"
    known: dict[str, Any] = {"accumulate": options.accumulate}
    if parameters.refers_to("optimizer") == "adamw":
        known["optimizer"] = "adamw"
    if config is not None:
        known |= {"remat": config.remat, "scan_layers": config.scan_layers}
    if parameters["logit_chunks"] is not None:
        known["logit_chunks"] = parameters["logit_chunks"]
    return Plan(
        name,
        jitted,
        arguments,
        parts,
        size,
        mesh,
        step_of(objective_of(True), online=online) if remat else None,
        known,
        unknown_trips,
    )


def _abstract_params(init: Callable[[jax.Array], Any], mesh: Mesh, rules: Rules) -> Any:
    boxed = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        nn.unbox(boxed),
        state_shardings(boxed, mesh, rules),
    )


def _plain(config: T5Config, plain: bool) -> T5Config:
    return config.replace(remat="none") if plain else config


def _fine_tune(parameters: _Parameters, shapes: CompileShapes, mesh: Mesh, size: int) -> Plan:
    config = _t5_config(parameters, shapes)

    def objective_of(plain: bool) -> Objective:
        return LanguageModel(
            T5(_plain(config, plain)),
            label_smoothing=parameters["label_smoothing"],
            z_loss=parameters["z_loss"],
            logit_chunks=parameters["logit_chunks"],
        )

    features = _seq2seq_features(parameters["task_feature_lengths"])
    return _train("fine-tune", parameters, mesh, size, objective_of, features, config=config)


def _teacher(parameters: _Parameters, shapes: CompileShapes) -> OnlineTeacher | None:
    path = parameters["teacher"]
    if path is None:
        return None
    config = _teacher_config(path, shapes)
    sentinels = shapes.sentinels(config.vocab_size)
    trie = LabelTrie.compile(shapes.tags(config.vocab_size), sentinel_ids=sentinels)
    return OnlineTeacher(T5(config), trie, sentinels)


def _teacher_features(shapes: CompileShapes) -> dict[str, tuple[tuple[int, ...], Any]]:
    return {
        "teacher_tokens": ((shapes.input_tokens,), jnp.int32),
        "num_words": ((), jnp.int32),
        "known_tags": ((), jnp.bool_),
    }


def _tagger(
    model: Any,
    parameters: _Parameters,
    shapes: CompileShapes,
    mesh: Mesh,
    size: int,
    features: dict[str, tuple[tuple[int, ...], Any]],
) -> Plan:
    """A student that gives a distribution over tags at each word."""
    kind = TaggerDistillation if isinstance(model, BiLSTMTagger) else EncoderDistillation
    student = kind(model, parameters["distillation"] or DistillationWeights())
    teacher = _teacher(parameters, shapes)
    features = features | _target_features(shapes.words, shapes.num_tags)
    if teacher is None:
        return _train(
            "distil",
            parameters,
            mesh,
            size,
            lambda plain: student,
            features,
            unknown_trips=shapes.words,
        )
    features |= _teacher_features(shapes)
    return _train(
        "distil, the teacher within the step",
        parameters,
        mesh,
        size,
        lambda plain: OnlineDistillation(student, teacher),
        features,
        teacher=teacher,
        unknown_trips=shapes.words,
    )


def _bilstm(parameters: _Parameters, shapes: CompileShapes, mesh: Mesh, size: int) -> Plan:
    config = parameters["model"](
        num_words=shapes.num_words, num_chars=shapes.num_chars, num_tags=shapes.num_tags
    )
    features: dict[str, tuple[tuple[int, ...], Any]] = {
        "word_ids": ((shapes.words,), jnp.int32),
        "char_ids": ((shapes.words, MAX_CHARS), jnp.int32),
    }
    return _tagger(BiLSTMTagger(config), parameters, shapes, mesh, size, features)


def _encoder(parameters: _Parameters, shapes: CompileShapes, mesh: Mesh, size: int) -> Plan:
    path = parameters["initial_checkpoint_path"]
    if path is not None:
        source = HfCheckpoint(Path(path)).config
        layers = parameters["encoder_layers"]
        count = source.num_encoder_layers if layers is None else len(layers)
        config = encoder_tagger_config(source, count, shapes.num_tags)
    else:
        model = parameters["model"] or gin.get_configurable("EncoderTaggerConfig")
        config = model(vocab_size=shapes.vocab_size, num_tags=shapes.num_tags)
    features: dict[str, tuple[tuple[int, ...], Any]] = {
        "tokens": ((shapes.input_tokens,), jnp.int32),
        "first": ((shapes.words,), jnp.int32),
    }
    return _tagger(EncoderTagger(config), parameters, shapes, mesh, size, features)


def _distil_t5(parameters: _Parameters, shapes: CompileShapes, mesh: Mesh, size: int) -> Plan:
    config = _t5_config(parameters, shapes)
    teacher = _teacher(parameters, shapes)
    weights = parameters["distillation"] or DistillationWeights()
    tags, sentinels = shapes.tags(config.vocab_size), shapes.sentinels(config.vocab_size)
    features = _seq2seq_features(parameters["task_feature_lengths"])
    features["decoder_loss_weights"] = (features["decoder_segment_ids"][0], jnp.float32)
    features["num_words"] = ((), jnp.int32)
    features |= _target_features(shapes.words, shapes.num_tags)
    token_level = bool(parameters["token_level"])
    if teacher is not None and not token_level:
        features |= _teacher_features(shapes)

    def objective_of(plain: bool) -> Objective:
        model = T5(_plain(config, plain))
        if teacher is not None and token_level:
            return TokenDistillation(model, teacher.model, weights)
        student = SentDistillation(
            model,
            LabelTrie.compile(tags),
            sentinels,
            weights,
            parameters["normaliser"],
            logit_chunks=parameters["logit_chunks"],
        )
        if teacher is None:
            return student
        writer = TargetWriter(tags, sentinels, 1, config.decoder_start_id)
        return OnlineDistillation(student, teacher, writer)

    name = "distil" if teacher is None else "distil, the teacher within the step"
    return _train(
        name,
        parameters,
        mesh,
        size,
        objective_of,
        features,
        config=config,
        teacher=teacher,
        unknown_trips=shapes.words,
    )


def _label(parameters: _Parameters, shapes: CompileShapes, mesh: Mesh, size: int) -> Plan:
    config = _t5_config(parameters, shapes)
    model = T5(config)
    sentinels = shapes.sentinels(config.vocab_size)
    trie = LabelTrie.compile(shapes.tags(config.vocab_size), sentinel_ids=sentinels)
    settings = DecoderSettings(normaliser=parameters["normaliser"])
    rules = logical_axis_rules()
    check_batch_size(size, mesh)
    params = _abstract_params(LanguageModel(model).init, mesh, rules)
    batch = _rows(
        mesh, size, {"tokens": ((shapes.input_tokens,), jnp.int32), "num_words": ((), jnp.int32)}
    )

    def label(params: Any, batch: Batch) -> Any:
        tokens = batch["tokens"]
        sentences = SentScoreBatch(
            tokens, tokens != 0, batch["num_words"], jnp.asarray(sentinels, jnp.int32)
        )
        with partitioning(mesh, rules):
            found = decode(model, params, sentences, trie, settings)
        return found.tags, found.log_likelihoods

    place = batch_sharding(mesh, rules)
    jitted = jax.jit(
        label, in_shardings=(shardings_of(params), place), out_shardings=(place, place)
    )
    parts = {"parameters": params, "batch": batch}
    options = {"scan_layers": config.scan_layers}
    return Plan("label", jitted, (params, batch), parts, size, mesh, None, options, shapes.words)


_PLANS: dict[str, Callable[[_Parameters, CompileShapes, Mesh, int], Plan]] = {
    "train_t5": _fine_tune,
    "train_tagger": _bilstm,
    "train_encoder_tagger": _encoder,
    "distil_t5": _distil_t5,
    "label_batch": _label,
}
