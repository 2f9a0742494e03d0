"""Back ends that say what a test tells them to, put into the BACKENDS table under names of their own."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from dav import auth
from dav.auth.backend import Backend, BackendDown, Credentials, Identity, PersonUnclear, Refusal, Tools
from dav.config import AuthConfig, Config

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def basic(login: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}


@dataclass
class Clock:
    """Seconds that pass only when a test says so; and a sleep that lets them pass at once."""

    now: float = 1_795_000_000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@dataclass
class Fake:
    """people: login → (password, who it is). asked: every login and password that it was asked about.

    unclear: logins with a hash that cannot be checked.
    """

    name: str = "fake"
    kinds: frozenset[str] = frozenset({"password"})
    people: dict[str, tuple[str, Identity]] = field(default_factory=dict)
    down: bool = False
    unclear: set[str] = field(default_factory=set)
    slow_s: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    asked_still: int = 0
    looked_up: list[str] = field(default_factory=list)
    can_look_up: bool = True
    closed: int = 0

    def knows(self, login: str, password: str, **identity: Any) -> None:
        self.people[login] = (password, Identity(**{"name": login, **identity}))

    def change(self, login: str, **changes: Any) -> None:
        password, identity = self.people[login]
        self.people[login] = (password, replace(identity, **changes))

    async def check(self, given: Credentials) -> Identity | Refusal:
        self.asked.append((given.login, given.password or given.token or given.header or ""))
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        self._must_be_up()
        if given.login in self.unclear:
            raise PersonUnclear(f"the password of {given.login} cannot be checked")
        found = self.people.get(given.login.lower())
        if found is None:
            return Refusal.NOT_MINE
        return found[1] if found[0] == given.password else Refusal.WRONG

    async def still(self, identity: Identity) -> bool:
        self.asked_still += 1
        self._must_be_up()
        found = next((known for _, known in self.people.values() if known.name == identity.name), None)
        return found is not None and found.stamp == identity.stamp

    async def lookup(self, name: str) -> Identity | Refusal | None:
        self.looked_up.append(name)
        self._must_be_up()
        if not self.can_look_up:
            return None
        found = self.people.get(name.lower())
        return Refusal.NOT_MINE if found is None else found[1]

    async def close(self) -> None:
        self.closed += 1

    def _must_be_up(self) -> None:
        if self.down:
            raise BackendDown(f"{self.name} does not answer")


def register(monkeypatch: pytest.MonkeyPatch, *fakes: Fake) -> None:
    """Puts fakes into the table of back ends under their names."""
    for fake in fakes:
        made: Callable[[Tools], Backend] = lambda tools, fake=fake: fake  # noqa: E731
        monkeypatch.setitem(auth.BACKENDS, fake.name, made)


def configured(config: Config, *backends: str, **settings: Any) -> Config:
    """The configuration with these back ends and settings of [auth]."""
    return replace(config, auth=AuthConfig(backends=backends, **settings))
