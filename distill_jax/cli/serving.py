"""`distill-jax serve`: models behind HTTP."""

import argparse
import os
from pathlib import Path
from typing import Any

from distill_jax.cli.compilation_cache import use_compilation_cache
from distill_jax.cli.decoder_options import add_model_options, load_exported, load_tagger
from distill_jax.errors import UserError
from distill_jax_runtime.directory import is_exported

TOKEN = "DISTILL_JAX_TOKEN"


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    serve = commands.add_parser("serve", help="tags texts behind HTTP, with a page to try it on")
    add_model_options(serve, several=True)
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; default: this machine alone"
    )
    serve.add_argument(
        "--port", type=int, default=8000, metavar="N", help="0: any free one; default: %(default)s"
    )
    serve.add_argument(
        "--token_file",
        metavar="FILE",
        help=f"a file with the token that requests need (or the environment's {TOKEN}); default: none",
    )
    serve.add_argument(
        "--no_request_log", action="store_true", help="write no line for each request"
    )
    serve.add_argument(
        "--no_warmup",
        action="store_true",
        help="answer at once; the first requests of each shape then wait until it is compiled",
    )
    group = serve.add_argument_group("batches and limits", "see docs/serve.md")
    for name, kind, default, what in (
        ("window_ms", float, 2.0, "how long a batch waits for more while many ask at a time"),
        ("queue", int, 1024, "sentences that may wait for a model; further requests are 429"),
        ("max_body", int, 1 << 20, "bytes of a request"),
        ("max_texts", int, 256, "texts of a request"),
        ("max_words", int, 256, "words of a text"),
        ("timeout", float, 30.0, "seconds until a request that is not answered is 503"),
        ("body_timeout", float, 10.0, "seconds until a body that has not come is 408"),
        ("drain", float, 0.5, "seconds for which connections are still taken after SIGTERM"),
        ("grace", float, 30.0, "seconds for which requests in flight are then waited for"),
    ):
        group.add_argument(
            f"--{name}",
            type=kind,
            default=default,
            metavar="N",
            help=f"{what}; default: {default:g}",
        )
    serve.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    from distill_jax.modules import check_installed

    check_installed("starlette", "uvicorn", "prometheus_client", extra="serve")
    from distill_jax.serve.models import parse_models
    from distill_jax.serve.server import serve

    settings = _settings(options)
    settings.check()
    directories = parse_models(options.model)
    token = _token(options.token_file)

    def load(directory: Path) -> Any:
        of_one = argparse.Namespace(**{**vars(options), "model": str(directory)})
        if is_exported(directory):
            return load_exported(of_one, mapped=False)  # somebody may overwrite it meanwhile
        use_compilation_cache()
        return load_tagger(of_one)

    serve(directories, load, settings, token=token)


def _settings(options: argparse.Namespace) -> Any:
    from distill_jax.serve.settings import Batching, Limits, ServeSettings

    return ServeSettings(
        host=options.host,
        port=options.port,
        limits=Limits(
            body=options.max_body,
            texts=options.max_texts,
            words=options.max_words,
            queue=options.queue,
            body_seconds=options.body_timeout,
            seconds=options.timeout,
        ),
        batching=Batching(options.batch_size, options.window_ms / 1000),
        drain_seconds=options.drain,
        grace_seconds=options.grace,
        warm_up=not options.no_warmup,
        log_requests=not options.no_request_log,
    )


def _token(file: str | None) -> str | None:
    """The token of a file, or of the environment. Raises `UserError` for one that cannot be sent."""
    where, token = TOKEN, os.environ.get(TOKEN)
    if file is not None:
        where = file
        try:
            token = Path(file).read_text("utf-8")
        except OSError as error:
            raise UserError(
                f"{file}: cannot be read ({error.strerror}); name the token's file"
            ) from None
        except UnicodeDecodeError:
            raise UserError(f"{file}: not UTF-8 text; write the token on one line") from None
    if token is None:
        return None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"{where}: holds no token; write one of printable ASCII characters without blanks, on one line"
        )
    return token
