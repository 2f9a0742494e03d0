"""POST to a calendar or an address book (RFC 5995): add a member under a name that the server chooses."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from dav import access, conditions, target, tree
from dav.context import Ctx, Request, Response
from dav.errors import DavError
from dav.headers import Preconditions, Prefer, preconditions, prefer
from dav.methods.allow import KINDS_OF, not_allowed
from dav.methods.get import of_member
from dav.methods.put import Payload, read_payload, store, validators
from dav.names import d
from dav.target import Target
from dav.urls import HOME_AREAS, Place

_ENDING = {"calendar": ".ics", "addressbook": ".vcf"}


@dataclass(frozen=True, slots=True)
class Post:
    payload: Payload
    wanted: Preconditions
    prefer: Prefer


def parse(request: Request) -> Post:
    """Raises DavError(415) for a coded body."""
    return Post(read_payload(request, request.place.area), preconditions(request), prefer(request))


def handle(ctx: Ctx, post: Post) -> Response:
    place = ctx.request.place
    if place.area not in HOME_AREAS or not place.account:
        raise not_allowed(tree.require(ctx, place).kind, "POST is not answered here.")
    there = target.resolve(ctx, place)
    node = target.require_node(there)
    if node.kind not in KINDS_OF["POST"]:
        raise not_allowed(node.kind, "POST is not answered here.")
    if ctx.request.query:
        raise DavError(400, detail="No action is known for this query.")
    access.require(ctx, node, d("bind"))
    # RFC 5995 §3.2: conditions are about the address of the request, which is the collection.
    conditions.check_entity(post.wanted, node)
    conditions.check_if(ctx, post.wanted, there)
    name = f"{uuid.uuid4()}{_ENDING[node.kind]}"
    member = Target(Place(place.area, place.account, f"{place.path}/{name}", False), there.owner, None, node)
    conditions.check_creation_locks(ctx, post.wanted, member)
    record, _ = store(ctx, node, name, None, post.payload)
    assert node.collection is not None
    stored = tree.member_node(ctx, there.owner, node.collection, record)
    location = ("Location", stored.href)
    if post.prefer.returns == "representation":
        applied = (("Content-Location", stored.href), ("Preference-Applied", "return=representation"))
        return of_member(ctx, stored, 201, (location, *applied))
    return Response(201, (location, *validators(record)))
