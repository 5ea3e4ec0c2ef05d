"""Taggers behind HTTP: batches over requests, limits, metrics, reloading, and a page.

    models.py, loading.py   the models served, each with its own thread; loading and reloading
    batching.py             sentences of many requests put through a model together
    schemas.py, entities.py what a request may say; what is answered
    routes.py, protocol.py  /predict and its like; the Open Inference Protocol
    middleware.py           bodies, time, tokens, logs and counts of every request
    server.py               the socket, signals, the graceful end

Needs the extra `serve`. `distill_jax.cli.serving` is the command; docs/serve.md says how it is used.
"""
