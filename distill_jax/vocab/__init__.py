"""Vocabularies: subwords and bytes for transformers, words and characters for a BiLSTM.

Import the public names from here; the modules below are one kind of vocabulary each.
"""

from distill_jax.vocab.base import VOCABULARY_FILE, Vocabulary
from distill_jax.vocab.byte import ByteVocabulary
from distill_jax.vocab.huggingface import HUGGINGFACE_FILE, HuggingFaceVocabulary
from distill_jax.vocab.loading import load_vocabulary, vocabulary_beside
from distill_jax.vocab.sentencepiece import (
    DEFAULT_EXTRA_IDS,
    SENTENCEPIECE_FILE,
    SentencePieceVocabulary,
    train_sentencepiece,
)
from distill_jax.vocab.vectors import WordTable, coverage, read_word_vectors
from distill_jax.vocab.wordpiece import WORDPIECE_FILE
from distill_jax.vocab.words import (
    NUM_SPECIAL_IDS,
    WORD_VOCABULARY_FILE,
    WordVocabulary,
)
from distill_jax_runtime.tokenizer_file import SENTINEL_PATTERN

__all__ = [
    "DEFAULT_EXTRA_IDS",
    "HUGGINGFACE_FILE",
    "NUM_SPECIAL_IDS",
    "SENTENCEPIECE_FILE",
    "SENTINEL_PATTERN",
    "VOCABULARY_FILE",
    "WORDPIECE_FILE",
    "WORD_VOCABULARY_FILE",
    "ByteVocabulary",
    "HuggingFaceVocabulary",
    "SentencePieceVocabulary",
    "Vocabulary",
    "WordTable",
    "WordVocabulary",
    "coverage",
    "load_vocabulary",
    "read_word_vectors",
    "train_sentencepiece",
    "vocabulary_beside",
]
