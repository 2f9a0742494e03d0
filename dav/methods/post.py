"""POST to a calendar or an address book (RFC 5995): add a member under a name that the server chooses.

POST to an outbox (RFC 6638 §5): ask for the busy times of people. POST of XML: dav/methods/actions.py.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from dav import access, conditions, target, tree
from dav.context import Ctx, Request, Response
from dav.errors import DavError
from dav.headers import Preconditions, Prefer, media_type, preconditions, prefer
from dav.methods import actions
from dav.methods.allow import KINDS_OF, not_allowed
from dav.methods.get import of_member
from dav.methods.put import Payload, read_payload, store, stored_node, validators
from dav.names import d
from dav.scheduling import freebusy
from dav.target import Target
from dav.urls import HOME_AREAS, Place

# The types that a browser sends for any page without asking the server first, and with the password that it remembers.
_UNASKED = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
_ENDING = {"calendar": ".ics", "addressbook": ".vcf"}


@dataclass(frozen=True, slots=True)
class Post:
    payload: Payload
    wanted: Preconditions
    prefer: Prefer


def parse(request: Request) -> Post | freebusy.Asked | actions.Wanted | DavError:
    """Raises DavError(415) for a coded body, DavError(403) for what a page elsewhere has a browser send. What is wrong
    with a message for an outbox is told once there is one.
    """
    elsewhere = request.header("sec-fetch-site") in ("cross-site", "same-site")
    if elsewhere and media_type(request.header("content-type")) in _UNASKED:
        raise DavError(403, detail="A page elsewhere may not send this.")
    if request.place.path == "outbox" and request.place.area == "calendars":
        try:
            return freebusy.parse(request)
        except DavError as error:
            return error.again()
    asked = actions.wanted(request) if request.place.area in HOME_AREAS else None
    if asked is not None:
        return asked
    return Post(read_payload(request, request.place.area), preconditions(request), prefer(request))


def handle(ctx: Ctx, post: Post | freebusy.Asked | actions.Wanted | DavError) -> Response:
    place = ctx.request.place
    if place.area not in HOME_AREAS or not place.account:
        raise not_allowed(tree.require(ctx, place).kind, "POST is not answered here.")
    there = target.resolve(ctx, place)
    node = target.require_node(there)
    # A notice among all other files answers POST, so the table of methods does not say all.
    if isinstance(post, actions.Wanted) and node.kind in post.action.kinds:
        return actions.run(ctx, node, post)
    if node.kind not in KINDS_OF["POST"]:
        raise not_allowed(node.kind, "POST is not answered here.")
    if isinstance(post, actions.Wanted):
        return actions.run(ctx, node, post)
    if not isinstance(post, Post):
        if node.kind != "outbox" or not ctx.config.scheduling.enabled:
            raise not_allowed(node.kind, "POST is not answered here.")
        if isinstance(post, DavError):
            raise post
        return freebusy.handle(ctx, node, post)
    if ctx.request.query:
        raise DavError(400, detail="No action is known for this query.")
    access.require(ctx, node, d("bind"))
    # RFC 5995 §3.2: conditions are about the address of the request, which is the collection.
    conditions.check_entity(post.wanted, node)
    conditions.check_if(ctx, post.wanted, there)
    name = f"{uuid.uuid4()}{_ENDING[node.kind]}"
    address = Place(place.area, place.account, f"{place.path}/{name}", False)
    member = Target(address, there.owner, None, node, f"{there.path}/{name}")
    conditions.check_creation_locks(ctx, post.wanted, member)
    stored = store(ctx, node, name, None, post.payload)
    assert node.collection is not None
    made = stored_node(ctx, node, stored)
    location = ("Location", made.href)
    if post.prefer.returns == "representation":
        applied = (("Content-Location", made.href), ("Preference-Applied", "return=representation"))
        return of_member(ctx, made, 201, (location, *applied))
    return Response(201, (location, *validators(stored.record, altered=stored.altered)))
