"""The few-shot study: cells, results, tables, figures, page."""
