"""Vocabularies: subwords and bytes for transformers, words and characters for a BiLSTM."""
