"""ACL (RFC 3744 §8.1). Every entry of our access control lists is protected, so none can be set yet."""

from __future__ import annotations

from dav import tree, xml
from dav.context import Ctx, Request, Response
from dav.errors import DavError
from dav.methods.allow import KINDS_OF, not_allowed
from dav.names import d


def parse(request: Request) -> None:
    """Raises DavError(400) for a body that is not a DAV:acl."""
    if xml.parse(request.body, request.config.limits).tag != d("acl"):
        raise DavError(400, detail="The body of ACL is a DAV:acl element.")


def handle(ctx: Ctx, parsed: None) -> Response:
    node = tree.require(ctx, ctx.request.place)
    if node.kind not in KINDS_OF["ACL"]:
        raise not_allowed(node.kind, "This has no access control list.")
    # RFC 3744 §8.1.1
    raise DavError(403, d("no-protected-ace-conflict"), "Who may do what here is fixed; sharing is not there yet.")
