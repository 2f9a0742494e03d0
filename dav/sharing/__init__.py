"""Sharing of collections: invitations, answers, notices, and links for people elsewhere.

Two protocols say the same: Apple's (CS:share, CS:invite-reply) and draft-pot-webdav-resource-sharing-04 (DAV:). Here is
what both, and the command line, come down to.
"""
