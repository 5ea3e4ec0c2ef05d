"""New sentences from few: sampling from a T5, generators, filters, and the pool they leave."""
