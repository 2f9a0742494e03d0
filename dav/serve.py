"""The server's processes: one supervisor that owns the sockets, and workers that are forked from it.

With one worker there is no supervisor. The store is migrated in a child that ends before the first worker starts, so
what only a migration needs never stays in a server's memory.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dav import firstrun, observe
from dav.config import Config, ConfigError
from dav.mail import can_mail
from dav.version import VERSION

if TYPE_CHECKING:
    from storage.engine import Store

BEAT_S = 20.0
STOP_S = 20
# How long sign-ins may go on after the signal to stop.
SIGN_IN_STOP_S = 1.0
KEEP_ALIVE_S = 75
FILES_WANTED = 20_000
EXIT_FAILED = 1

_log = logging.getLogger("davenport.serve")


def serve(config: Config, *, first_start: bool = False) -> int:
    """Runs the server until SIGTERM or SIGINT; returns the exit status. first_start: make a first account."""
    observe.configure(config.log.level)
    problem = _check_certificate(config) or _check_backends(config) or _check_smtp(config) or _check_feeds(config)
    if problem:
        print(problem, file=sys.stderr)
        return EXIT_FAILED
    try:
        listener = bind(config.server.host, config.server.port)
    except OSError as error:
        where = f"{config.server.host} port {config.server.port}"
        print(f"Cannot listen on {where}: {error.strerror or error}.", file=sys.stderr)
        return EXIT_FAILED
    try:
        doors = _mail_doors(config)
    except OSError as error:
        print(f"Cannot listen for mail on {error.strerror}.", file=sys.stderr)
        return EXIT_FAILED
    port = listener.getsockname()[1]
    # Before the child is forked, so that it need not import all this for itself: 0.6 s of a start.
    preload(config)
    status = in_child(lambda: firstrun.prepare(config, port=port, first_account=first_start))
    if status != 0:
        return status
    _raise_file_limit()
    if not can_mail(config):
        _log.info("smtp.host is not set: people elsewhere get no invitations by mail")
    if config.server.workers == 1:
        return _run_worker(config, listener, doors, None)
    return _supervise(config, listener, doors)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError. An empty or IPv6 host listens on both families where the system allows it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family == socket.AF_INET and not host.replace(".", "").isdigit():
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        host = str(address[0])
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if host != "::" else 0)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
        listener.set_inheritable(True)
    except OSError:
        listener.close()
        raise
    return listener


def in_child(function: Callable[[], int]) -> int:
    """Runs `function` in a forked child and returns what it returned; 1 when it died."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = EXIT_FAILED
        try:
            status = function()
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            _log.exception("could not start")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    while True:
        try:
            _, result = os.waitpid(pid, 0)
            return os.waitstatus_to_exitcode(result) if os.WIFEXITED(result) else EXIT_FAILED
        except KeyboardInterrupt:
            continue  # the child got the same signal


def preload(config: Config) -> None:
    """Imports all that a worker needs with these settings, so that forked workers share it in memory.

    What only some requests need, or a start, is imported by these: tests/ops/test_modules.py has the list.
    """
    import uvicorn
    import uvloop

    import dav.app
    import dav.jobs
    import dav.wire

    if can_mail(config):
        import dav.mail.smtp
    if config.feeds.followed:
        import dav.feeds.follow  # noqa: F401

    del uvicorn, uvloop


def _keep_heap_small() -> None:
    """Tells glibc that threads share two arenas: else each keeps what its largest answer once needed.

    An arena keeps 8 MiB that are free, and what is shorter than 4 MiB comes out of it: a listing of 2,000 members
    would else ask for 450 pages and give them back each time, a quarter of what it costs. Other C libraries have no
    such call, and need none.
    """
    import ctypes

    arena_max, mmap_threshold, trim_threshold = -8, -3, -1  # of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(arena_max, 2)
        mallopt(mmap_threshold, 4 << 20)
        mallopt(trim_threshold, 8 << 20)


# --- one worker ------------------------------------------------------------------------------------------------------


def _run_worker(config: Config, listener: socket.socket, doors: Sequence[socket.socket], lifeline: int | None) -> int:
    """Serves until told to stop. lifeline: a pipe whose other end the supervisor holds; its end is our end.

    doors: the sockets at which mail comes in.
    """
    _keep_heap_small()
    gc.collect()
    gc.freeze()  # the program itself is not gone through again each time that a large body makes many objects
    import uvloop

    # uvicorn has its own handlers while it serves, and raises what it caught once more when it has finished.
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop.on_signal)
    signal.signal(signal.SIGINT, stop.on_signal)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_worker(config, listener, doors, lifeline, stop))
        except SystemExit as failed:  # uvicorn's way to say that it could not start
            return int(failed.code or 0)


class _Stop:
    """Remembers that a signal came before uvicorn listened for it."""

    def __init__(self) -> None:
        self.asked = False

    def on_signal(self, number: int, frame: object) -> None:
        self.asked = True


async def _worker(
    config: Config, listener: socket.socket, doors: Sequence[socket.socket], lifeline: int | None, stop: _Stop
) -> int:
    import uvicorn

    from dav import app, jobs, provision
    from dav.wire import BoundedProtocol, TrustedProxies
    from storage import migrate
    from storage.errors import StorageError

    store = provision.open_store(config)
    worker_id = await asyncio.to_thread(lambda: migrate.register_worker(store, version=VERSION, now_s=_now_s()))
    davenport = app.build(config, store)
    built: Any = TrustedProxies(davenport, config.server.trusted_proxies)
    options: dict[str, Any] = {}
    if config.server.certificate:
        options = {"ssl_certfile": config.server.certificate, "ssl_keyfile": config.server.key}

    class Protocol(BoundedProtocol):
        memory = davenport.memory

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Of all requests only sign-ins may wait for long; a hash under way has time to become an answer.
            asyncio.get_running_loop().call_later(SIGN_IN_STOP_S, davenport.auth.end_waiting)
            await super().shutdown(sockets)

    server = Server(
        uvicorn.Config(
            built,
            http=Protocol,
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
            limit_concurrency=_connections_max(),
            **options,
        )
    )
    if lifeline is not None:
        asyncio.get_running_loop().add_reader(lifeline, lambda: setattr(server, "should_exit", True))
    background = [
        asyncio.create_task(_beat(store, worker_id)),
        asyncio.create_task(jobs.run_for_ever(store, config)),
        *_mail_in(store, config, doors),
    ]
    if can_mail(config):
        from dav.mail import smtp

        sender = smtp.Sender(store, config)
        davenport.wrote = sender.wake
        background.append(asyncio.create_task(sender.run_for_ever()))
    if config.feeds.followed:
        from dav.feeds import follow

        background.append(asyncio.create_task(follow.run_for_ever(store, config)))
    try:
        server.should_exit = stop.asked
        await server.serve(sockets=[listener])
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        try:
            await asyncio.to_thread(migrate.unregister_worker, store, worker_id)
        except StorageError as error:
            _log.warning("this worker stays registered until it is seen to be gone: %s", error)
        store.close()
    return 0


def _mail_doors(config: Config) -> list[socket.socket]:
    """The sockets at which mail comes in, made once for all workers. Raises OSError."""
    if not (config.mail_in.lmtp or config.mail_in.socket):
        return []
    from dav.mail import doors

    return doors.listeners(config)


def _mail_in(store: Store, config: Config, doors: Sequence[socket.socket]) -> list[asyncio.Task[None]]:
    """What takes mail in, in this worker."""
    tasks: list[asyncio.Task[None]] = []
    if doors:
        from dav.mail import doors as ways
        from dav.mail import lmtp

        taking = lmtp.serve(
            doors, ways.handler(store, config), bytes_max=config.mail_in.max_bytes, name=socket.gethostname()
        )
        tasks.append(asyncio.create_task(taking))
    if config.mail_in.imap_host:
        from dav.mail import imapwatch

        tasks.append(asyncio.create_task(imapwatch.run_for_ever(store, config)))
    return tasks


async def _beat(store: Store, worker_id: int) -> None:
    """Says every now and then that this worker lives, so that a newer version knows not to migrate under it."""
    from storage import migrate
    from storage.errors import StorageError

    while True:
        await asyncio.sleep(BEAT_S)
        try:
            await asyncio.to_thread(migrate.beat, store, worker_id, _now_s())
        except StorageError as error:
            _log.warning("heartbeat missed: %s", error)


def _now_s() -> int:
    return int(time.time())


def _check_certificate(config: Config) -> str:
    """What is wrong with certificate and key, as a sentence; "" when nothing is."""
    if not config.server.certificate:
        return ""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.server.certificate, config.server.key)
    except (OSError, ssl.SSLError) as error:
        files = f"{config.server.certificate} and {config.server.key}"
        return f"The certificate cannot be used ({files}): {error.strerror or error}."
    return ""


def _check_backends(config: Config) -> str:
    """Which library a sign-in back end lacks, as a sentence; "" for none. The workers share what is imported."""
    from dav import auth

    try:
        auth.import_backends(config.auth.backends)
    except ConfigError as error:
        return f"{str(error).rstrip('.')}."
    return ""


def _check_smtp(config: Config) -> str:
    """What is wrong with the files that outgoing mail needs, as a sentence; "" when nothing is."""
    if not can_mail(config):
        return ""
    smtp = config.smtp
    try:
        if smtp.password_file:
            Path(smtp.password_file).read_bytes()
        if smtp.ca_file:
            ssl.create_default_context(cafile=smtp.ca_file)
    except (OSError, ssl.SSLError) as error:
        name = smtp.ca_file if isinstance(error, ssl.SSLError) else error.filename or smtp.ca_file
        return f"A file of [smtp] cannot be used ({name}): {error.strerror or error}."
    return ""


def _check_feeds(config: Config) -> str:
    """What is wrong with the file that fetching calendars needs, as a sentence; "" when nothing is."""
    if not (config.feeds.followed and config.feeds.followed_ca_file):
        return ""
    try:
        ssl.create_default_context().load_verify_locations(config.feeds.followed_ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error
        return f"The file of feeds.followed_ca_file cannot be used ({config.feeds.followed_ca_file}): {reason}."
    return ""


def _raise_file_limit() -> None:
    """Lets this process and its children hold as many connections as the system allows them, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            _log.warning("the limit on open files stays at %d: %s", soft, error)


def _connections_max() -> int:
    """Connections that one worker takes before it answers 503: its open files less what the store needs."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = FILES_WANTED if soft == resource.RLIM_INFINITY else min(soft, FILES_WANTED)
    return max(64, files * 3 // 4)


# --- many workers ----------------------------------------------------------------------------------------------------


class _Supervisor:
    """Forks workers, replaces those that die, and ends them all on SIGTERM or SIGINT."""

    def __init__(self, config: Config, listener: socket.socket, doors: Sequence[socket.socket]) -> None:
        self.config = config
        self.listener = listener
        self.doors = doors
        self.workers: dict[int, float] = {}
        self.stopping = False
        self.status = 0
        self.quick_deaths = 0
        self.lifeline_read, self.lifeline_write = os.pipe()

    def run(self) -> int:
        gc.collect()
        gc.freeze()  # what is shared with the workers stays shared: their collections do not touch it
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, self._on_signal)
        for _ in range(self.config.server.workers):
            self._fork()
        while self.workers:
            pid, result = os.waitpid(-1, 0)
            started = self.workers.pop(pid, None)
            if started is not None and not self.stopping:
                self._replace(pid, started, result)
        return self.status

    def _replace(self, pid: int, started: float, result: int) -> None:
        code = os.waitstatus_to_exitcode(result)
        quick = time.monotonic() - started < 5
        self.quick_deaths = self.quick_deaths + 1 if quick else 0
        _log.error("worker %d ended with status %d", pid, code)
        if self.quick_deaths >= 3 * self.config.server.workers:
            # It would go on like this: better a service manager sees it than a loop that looks like a server.
            self.status = EXIT_FAILED
            self._stop()
            return
        if quick:
            time.sleep(0.5)
        if not self.stopping:
            self._fork()

    def _fork(self) -> None:
        # Blocked, or a signal between the fork and the child's own handlers would make the child stop its siblings.
        blocked = {signal.SIGTERM, signal.SIGINT, signal.SIGALRM}
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        pid = os.fork()
        if pid:
            self.workers[pid] = time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
            return
        status = EXIT_FAILED
        try:
            for number in blocked:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
            os.close(self.lifeline_write)
            status = _run_worker(self.config, self.listener, self.doors, self.lifeline_read)
        except BaseException:
            _log.exception("worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGALRM or (self.stopping and number == signal.SIGTERM):
            self._signal_all(signal.SIGKILL)
        else:
            self._stop()

    def _stop(self) -> None:
        if not self.stopping:
            self.stopping = True
            self._signal_all(signal.SIGTERM)
            signal.alarm(STOP_S + 10)

    def _signal_all(self, number: int) -> None:
        for pid in list(self.workers):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def _supervise(config: Config, listener: socket.socket, doors: Sequence[socket.socket]) -> int:
    return _Supervisor(config, listener, doors).run()
