"""The process: a socket, an event loop, signals, and an end that leaves nobody without an answer."""

import asyncio
import errno
import ipaddress
import logging
import math
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from distill_jax.errors import UserError
from distill_jax.serve.app import make_app
from distill_jax.serve.loading import Loader
from distill_jax.serve.logs import Level, log
from distill_jax.serve.metrics import Metrics
from distill_jax.serve.models import Models
from distill_jax.serve.settings import ServeSettings

_CONNECTIONS = 900
"""More are answered 503: processes may commonly have 1,024 files open."""
_LAST_REQUESTS = 1.0
"""Seconds in which a connection that was accepted last has to have sent its request."""
_SAME_SIGNAL = 0.5
"""Seconds within which a second signal means the first: `timeout` and terminals may send it twice."""
_SWITCH_SECONDS = 0.0005
"""Between threads that both run Python. A model's thread gives Python up whenever it computes, and would wait
5 ms, Python's default, to have it back from the event loop: then a busy server answers a fifth less."""


def serve(
    directories: Mapping[str, Path],
    loader: Loader,
    settings: ServeSettings,
    *,
    token: str | None = None,
) -> None:
    """Serves models until SIGTERM or SIGINT; SIGHUP reloads them.

    Models are loaded before a request is answered, and compiled while `/v2/health/live` says yes and
    `/v2/health/ready` no.

    Raises `UserError` if the port cannot be had or a model cannot be loaded.
    """
    settings.check()
    sys.setswitchinterval(_SWITCH_SECONDS)
    with _bound(settings.host, settings.port) as listener:
        metrics = Metrics()
        models = Models(dict(directories), loader, settings, metrics)
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_Serving(models, settings, metrics, token).run(listener))
        finally:
            models.close()


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `UserError` if there can be none."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except socket.gaierror as error:
        raise UserError(
            f"--host {host}: no address of this machine ({error.strerror}); 127.0.0.1 is the machine "
            "itself, 0.0.0.0 all its addresses"
        ) from None
    except OSError as error:
        what = {
            errno.EADDRINUSE: "in use by another process; end that one, or choose another --port",
            errno.EACCES: "no permission for this port; choose one above 1023",
            errno.EADDRNOTAVAIL: "no address of this machine; choose another --host",
        }.get(error.errno or 0, f"{error.strerror}; choose another --host or --port")
        raise UserError(f"{host}:{port}: {what}") from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop


class _Serving:
    """One server from its first request to its last."""

    def __init__(
        self, models: Models, settings: ServeSettings, metrics: Metrics, token: str | None
    ) -> None:
        self._models = models
        self._settings = settings
        self._token = token
        _log_uvicorn()
        self._server = _Server(
            uvicorn.Config(
                make_app(models, settings, metrics, token=token),
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_CONNECTIONS,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=math.ceil(settings.grace_seconds),
            ),
            settings.limits.body_seconds,
        )
        self._failed: BaseException | None = None
        self._asked_to_end = 0.0

    async def run(self, listener: socket.socket) -> None:
        """Serves; raises what making the models ready raised."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log("listening", url=f"http://{shown}:{port}/", models=[one.name for one in self._models])
        if not ipaddress.ip_address(host).is_loopback and self._token is None:
            log("open", "warning", message="other machines may ask, and no token is needed")
        warming = threading.Thread(target=self._warm, name="warm-up", args=(loop,))
        warming.start()
        try:
            await self._server.serve(sockets=[listener])
        finally:
            self._models.ending = True
            warming.join()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
        if self._failed is not None:
            raise self._failed
        log("ended")

    def _warm(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._models.warm()
        except BaseException as error:
            self._failed = error
            loop.call_soon_threadsafe(self._stop)

    def _end(self, number: int) -> None:
        now = time.monotonic()
        if self._asked_to_end:
            if now - self._asked_to_end > _SAME_SIGNAL:
                self._server.force_exit = True
            return
        self._asked_to_end = now
        log("ending", signal=signal.Signals(number).name)
        self._models.ending = True
        asyncio.get_running_loop().call_later(self._settings.drain_seconds, self._stop)

    def _stop(self) -> None:
        self._server.should_exit = True

    def _reload(self) -> None:
        def one_after_the_other() -> None:
            for model in self._models:
                try:
                    model.reload()
                except Exception:
                    continue  # `reload` has written the cause to the log

        threading.Thread(target=one_after_the_other, name="reload", daemon=True).start()


class _Server(uvicorn.Server):
    """uvicorn's, with our signals, and without clients that never finish the head of a request."""

    def __init__(self, config: uvicorn.Config, head_seconds: float) -> None:
        super().__init__(config)
        self._head_seconds = head_seconds
        self._idle_since: dict[Any, tuple[Any, float]] = {}

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Signals are `_Serving`'s."""
        await self._serve(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter % 10 == 0:
            self._close_idle()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers those that have connected before it ends.

        uvicorn would close connections whose request has not been read, and the system reset those that
        have not been accepted. By now every answer closes its connection, so that few are left.
        """
        for listener in sockets or []:
            await self._accept_rest(listener)
        for server in self.servers:
            server.close()
        end = time.monotonic() + _LAST_REQUESTS
        while self.server_state.connections and time.monotonic() < end:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    async def _accept_rest(self, listener: socket.socket) -> None:
        listener.listen(0)  # from here on the system holds back who is new
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # there is none, or it is gone already
                return
            connection.setblocking(False)
            await loop.connect_accepted_socket(
                lambda: self.config.http_protocol_class(  # type: ignore[call-arg]
                    config=self.config,
                    server_state=self.server_state,
                    app_state=self.lifespan.state,
                ),
                connection,
            )

    def _close_idle(self) -> None:
        """Closes connections that have not begun another request for longer than a head may take.

        uvicorn closes those that send nothing after an answer, not those that send a part of a head.
        """
        now = time.monotonic()
        since: dict[Any, tuple[Any, float]] = {}
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                continue
            known, start = self._idle_since.get(connection, (cycle, now))
            since[connection] = (cycle, start if known is cycle else now)
            allowed = self._head_seconds + (0 if cycle is None else self.config.timeout_keep_alive)
            if now - since[connection][1] > allowed:
                connection.transport.close()
        self._idle_since = since


class _UvicornLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        log("http", level, message=record.getMessage())


def _log_uvicorn() -> None:
    """Its warnings as lines of our log."""
    logger = logging.getLogger("uvicorn")
    logger.handlers = [_UvicornLog()]
    logger.propagate = False
    logger.setLevel(logging.WARNING)
