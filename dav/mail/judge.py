"""Whether a message that came by mail is believed, and in whose name it speaks: the table of who may say what.

Reads the store, writes nothing. What is not believed ends in Keep (its owner shall decide) or Ignore (of no use to
anybody, such as a plain forgery), each with the reason as a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

from dav.ical.lines import Line, with_value
from dav.mail import identity
from dav.mail.message import Mail
from dav.mail.post import Post
from dav.scheduling.addresses import Who, domain_key, mail_of, normalise, without_tag
from dav.scheduling.edit import replace_line
from dav.scheduling.model import (
    Itip,
    ItipError,
    SchedulingObject,
    address_of,
    attendees_of,
    organizer_of,
    read_object,
)
from dav.scheduling.places import invited_to, who_of
from dav.scheduling.plan import Env
from storage import accounts as people
from storage import itip, meetings, senders
from storage.objects import stored_uid
from storage.records import Account, Outgoing

SPEAKERS_MAX = 50


class Keep(Exception):
    """The message cannot be used; its text is the reason."""


class Ignore(Exception):
    """The message is of no use to anybody; its text is the reason."""


@dataclass(slots=True)
class Case:
    """One message for one account, and what is known about it."""

    env: Env
    post: Post
    mail: Mail
    itip: Itip
    account: Account
    who: Who
    row: Outgoing | None
    stored: SchedulingObject | None
    proof: identity.Proof
    # What the account has of the meeting: the bodies of its objects.
    copies: list[bytes]
    # For each address of somebody here: all addresses of that person.
    known_people: dict[str, frozenset[str]]
    delimiters: str

    def speaks_for(self, claimed: str) -> bool:
        """Whether the mail's From, or an envelope sender that SPF allows, is this calendar user."""
        if identity.same_person(claimed, self.mail.sender, delimiters=self.delimiters, known=self.known_people):
            return True
        envelope = normalise(f"mailto:{self.post.envelope_from}") if self.post.envelope_from else ""
        believed = self.proof.envelope or self.env.config.mail_in.strictness == "trusting"
        return believed and identity.same_person(claimed, envelope, delimiters=self.delimiters, known=self.known_people)


def case_of(env: Env, post: Post, account: Account, row: Outgoing | None) -> Case:
    assert post.itip is not None
    assert post.mail is not None
    mail, message = post.mail, post.itip
    delimiters = env.config.auth.recipient_delimiter
    named = [mail.sender, message.object.organizer, *list(message.object.all_attendees())[:SPEAKERS_MAX]]
    found = people.accounts_by_addresses(
        env.conn, [text for text in map(mail_of, named) if text], delimiters=delimiters
    )
    known_people: dict[str, frozenset[str]] = {}
    for one in {found[key].id: found[key] for key in found}.values():
        own = frozenset(normalise(f"mailto:{address}") for address in one.addresses)
        known_people |= dict.fromkeys(own, own)
    stored, copies = _stored(env, account, message)
    if env.config.mail_in.strictness == "trusting":
        proof = identity.Proof(identity.PASS, frozenset({domain_of(mail.sender)}))
    else:
        results = identity.results_of(mail.results, env.config.mail_in.authserv_id)
        proof = identity.prove(
            mail.sender, results, own_addresses=known_people.get(mail.sender, frozenset()), delimiters=delimiters
        )
    return Case(
        env, post, mail, message, account, who_of(env, account), row, stored, proof, copies, known_people, delimiters
    )


def domain_of(address: str) -> str:
    return domain_key((mail_of(address) or "").rpartition("@")[2])


def copies_of(env: Env, account: Account, uid: str) -> list[bytes]:
    """The bodies of the account's objects with this UID, the newest first."""
    calendars = [one.id for one in meetings.calendars_of(env.conn, [account.id]).get(account.id, ())
                 if invited_to(one)]  # fmt: skip
    return [body for _, body in meetings.by_uid(env.conn, calendars, uid)]


def _stored(env: Env, account: Account, message: Itip) -> tuple[SchedulingObject | None, list[bytes]]:
    """The account's own object with the message's UID; when only the letter case differs, the message takes ours."""
    for uid in dict.fromkeys((message.uid, message.uid.lower(), message.uid.upper())):
        bodies = copies_of(env, account, uid)
        if bodies:
            try:
                found = read_object(bodies[0])
            except ItipError:
                raise Keep("The meeting in the calendar cannot be read.") from None
            if found.uid != message.uid:
                _rename(message, found.uid)
            return found, bodies
    return None, []


def _rename(message: Itip, uid: str) -> None:
    for component in message.object.obj.components:
        for line in component.all("UID"):
            replace_line(component, line, with_value(line, uid))
    message.object.obj.uid = uid


# --- from an attendee -------------------------------------------------------------------------------------------------


def check_attendee(case: Case, *, believed: bool) -> str:
    """The attendee that the sender may speak for, as the stored meeting writes it. Raises Keep, Ignore.

    What the message says of others is taken out of it, except of those to whom the attendee delegates.
    """
    message, stored = case.itip, case.stored
    if stored is None:
        raise Keep("No meeting in the calendar has this UID.")
    if not case.who.has(stored.organizer):
        raise Keep("The account is not the organizer of this meeting.")
    if message.method == "REFRESH" and case.mail.answering:
        raise Ignore("Automatic mail is not answered.")
    named = list(message.object.all_attendees())
    if not named:
        raise Keep("The answer names nobody.")
    guests = stored.all_attendees()
    claimed, entry = _claimed(case, named, guests)
    verdict = identity.PASS if believed else case.proof.verdict
    token = case.row is not None and _same_uid(case.row.uid, stored.uid)
    if not entry and token and case.row is not None:
        # The address that the mail was sent to is this guest's secret: somebody answers from another address.
        entry = _entry_of(normalise(f"mailto:{case.row.recipient}"), guests, case.delimiters)
        claimed = entry if entry in named else (claimed or named[0])
    elif not claimed and believed:
        claimed = named[0]
        entry = _entry_of(claimed, guests, case.delimiters)
    elif not claimed:
        who = mail_of(case.mail.sender) or "Somebody without an address"
        text = f"{who} speaks for {mail_of(named[0]) or named[0]}."
        raise Keep(text) if verdict == identity.PASS else Ignore(f"{text} That is a forgery.")
    if verdict == identity.FAIL and not (token and entry and "google.com" in case.proof.domains):
        if not entry:
            raise Ignore(f"Nobody invited the sender, and {case.proof.reason}.")
        raise Keep(f"The sender may be somebody else: {case.proof.reason}.")
    if verdict == identity.NONE and not token:
        if case.env.config.mail_in.strictness == "strict":
            raise Keep(f"The sender is not proven: {case.proof.reason}.")
        if not entry:
            raise Keep(f"Nobody invited the sender, and {case.proof.reason}.")
    _only(message, claimed, entry, stored)
    return entry or claimed


def _claimed(case: Case, named: list[str], guests: dict[str, list[tuple[str, Line]]]) -> tuple[str, str]:
    """(the attendee of the message who sent it, the same as the meeting writes it or ""); ("", "") for none."""
    for claimed in named[:SPEAKERS_MAX]:
        entry = _entry_of(claimed, guests, case.delimiters)
        if case.speaks_for(claimed) or (entry and _by_email(guests[entry], case.mail.sender)):
            if not entry:
                # Invited at one address, answering with another of the same person here.
                others = case.known_people.get(claimed, frozenset())
                entry = next((one for one in guests if one in others), "")
            return claimed, entry
    # Some programs answer for the address that they were set up with, not the one that was invited.
    for entry in guests:
        if case.speaks_for(entry) and len(named) == 1 and entry in case.known_people:
            return named[0], entry
    return "", ""


def _entry_of(address: str, guests: dict[str, list[tuple[str, Line]]], delimiters: str) -> str:
    """The guest that an address is, as the meeting writes it; "" when it is none."""
    if address in guests:
        return address
    plain = without_tag(address, delimiters)
    return next((one for one in guests if without_tag(one, delimiters) == plain), "")


def _by_email(lines: list[tuple[str, Line]], sender: str) -> bool:
    """Whether the sender is the EMAIL of this guest, as the organizer's own copy writes it (not as the answer does)."""
    return bool(sender) and any(normalise(f"mailto:{line.param('EMAIL') or ''}") == sender for _, line in lines)


def _same_uid(row_uid: str, uid: str) -> bool:
    # The ledger keeps a UID as the objects table does: a very long one by its digest.
    return row_uid == stored_uid(uid)


def _only(message: Itip, claimed: str, entry: str, stored: SchedulingObject) -> None:
    """Leaves in a message the lines of the one who speaks, and of delegates; writes the one as the meeting does."""
    ours = stored.all_attendees().get(entry, [])
    value = ours[0][1].value if ours else ""
    for component in message.object.parts.values():
        speaking = attendees_of(component).get(claimed)
        delegates = _delegates(speaking) if speaking is not None else frozenset()
        for line in component.all("ATTENDEE"):
            address = address_of(line)
            if address == claimed:
                if value and normalise(value) != address:
                    replace_line(component, line, with_value(line, value))
            elif address not in delegates:
                replace_line(component, line, None)


def _delegates(line: Line) -> frozenset[str]:
    return frozenset(normalise(text) for text in line.param_values("DELEGATED-TO"))


# --- from an organizer ------------------------------------------------------------------------------------------------


def check_organizer(case: Case, *, believed: bool) -> bool:
    """Whether something is known of the sender. Raises Keep, Ignore when the message may not be applied."""
    message, stored, mail = case.itip, case.stored, case.mail
    organizer = message.object.organizer
    if any(organizer_of(part) != organizer for part in message.object.parts.values()):
        raise Keep("The message names more than one organizer.")
    if not organizer:
        raise Keep("The message names no organizer.")
    if case.who.has(organizer) or (stored is not None and case.who.has(stored.organizer)):
        raise Keep("The account is the organizer of this meeting itself.")
    if believed:
        return True
    verdict = case.proof.verdict
    if verdict == identity.FAIL:
        raise Keep(f"The sender may be somebody else: {case.proof.reason}.")
    if verdict == identity.NONE and case.env.config.mail_in.strictness == "strict":
        raise Keep(f"The sender is not proven: {case.proof.reason}.")
    speaks = case.speaks_for(organizer) or _sent_by(case, stored)
    if organizer in case.known_people and not (speaks and verdict == identity.PASS):
        # What people here organize comes to others here without mail: this one only says that it is from there.
        raise Keep("The organizer is somebody here, and the mail is not proven to be theirs.")
    if stored is not None and not _may_change(case, stored, speaks):
        raise Keep("The sender is not the organizer of the meeting, nor who sent it first.")
    if case.account.kind in ("room", "resource") and mail.answering:
        raise Keep("Rooms and resources do not answer automatic mail, nor what came through a list.")
    if stored is not None:
        return True
    if message.method == "PUBLISH":
        raise Keep("It is published for everybody, not an invitation.")
    if _is_known(case, organizer if speaks else ""):
        return True
    choice = case.env.config.mail_in.unknown_senders
    if message.method != "REQUEST" or choice == "add":
        return choice == "add"
    if choice == "ignore":
        raise Ignore("Nothing is known of the sender.")
    raise Keep("Nothing is known of the sender of this invitation.")


def organizer_as_stored(case: Case) -> str:
    """In whose name the message speaks: of the organizer that the account knows, when it may give it another one."""
    if case.stored is not None and case.stored.organizer:
        return case.stored.organizer
    return case.itip.object.organizer


def _sent_by(case: Case, stored: SchedulingObject | None) -> bool:
    """Whether the sender writes for the organizer: a SENT-BY of the stored meeting, or of the organizer's domain."""
    organizer = case.itip.object.organizer
    objects = [case.itip.object, *([stored] if stored is not None else [])]
    for obj in objects:
        for part in obj.parts.values():
            line = part.first("ORGANIZER")
            sent_by = normalise(line.param("SENT-BY") or "") if line is not None else ""
            if sent_by and case.speaks_for(sent_by) and (obj is stored or domain_of(sent_by) == domain_of(organizer)):
                return True
    return False


def _may_change(case: Case, stored: SchedulingObject, speaks: bool) -> bool:
    """Whether the sender may change what is stored: its organizer, or from where it came first, proven both times."""
    if speaks and stored.organizer in ("", case.itip.object.organizer):
        return True
    if case.proof.verdict != identity.PASS:
        return False
    domain = domain_of(case.mail.sender)
    if speaks and domain_of(stored.organizer) == domain:
        # Google names a new organizer when a meeting moves between calendars.
        return True
    return (via(domain), "") in itip.seen(case.env.conn, case.account.id, stored.uid)


def via(domain: str) -> str:
    return f"domain:{domain}"


def _is_known(case: Case, organizer: str) -> bool:
    """Whether something is known of who invites: one of here or of the same domain, a contact, one written to."""
    sender = case.mail.sender
    if not sender:
        return False
    if sender in case.known_people:
        return True
    domain = domain_of(sender)
    own = {domain_of(f"mailto:{address}") for address in case.account.addresses}
    if case.proof.verdict == identity.PASS and domain in own | {
        domain_key(one) for one in case.env.config.mail.domains
    }:
        return True
    addresses = [text for text in (mail_of(sender), mail_of(organizer)) if text]
    return senders.knows(case.env.conn, case.account.id, addresses)
