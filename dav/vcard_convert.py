"""vCard 2.1 → 3.0 ↔ 4.0 by editing lines (RFC 2426, RFC 6350 and its appendix A).

Both ways lose nothing: what one version cannot say stays in the text as a line or parameter that its readers skip, and
is understood again on the way back. RFC 6868 carets are kept in 3.0 as they are: 3.0 has no other way to say them.
Values of one kind (dates, pictures, positions) are changed by `dav.vcard_values`; lines, parameters and groups here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from urllib.parse import quote, unquote

from dav import vcard_values as values
from dav.ical.lines import Component, Line, decode_caret, escape, split_value, unescape
from dav.vcard_props import BINARY, Item, Prop, raw_line, read_items

# The 3.0 name of a line that 4.0 says by another property; it lets the way back restore the name that its writer reads.
_ORIGIN = "X-VCARD3-NAME"
_ANNIVERSARIES = frozenset({"X-ANNIVERSARY", "X-EVOLUTION-ANNIVERSARY", "X-KADDRESSBOOK-X-ANNIVERSARY"})
# Instant messaging before RFC 4770: the property's name says the service, the value is the bare handle.
_MESSENGERS = {
    "X-AIM": "aim", "X-ICQ": "icq", "X-JABBER": "xmpp", "X-GTALK": "xmpp", "X-GOOGLE-TALK": "xmpp", "X-MSN": "msnim",
    "X-YAHOO": "ymsgr", "X-SKYPE": "skype", "X-SKYPE-USERNAME": "skype", "X-QQ": "x-qq", "X-GADUGADU": "gg",
    "X-SIP": "sip",
}  # fmt: skip
_GROUP_NAMES = {"X-ADDRESSBOOKSERVER-KIND": "KIND", "X-ADDRESSBOOKSERVER-MEMBER": "MEMBER"}
_GROUP_NAMES_BACK = {new: old for old, new in _GROUP_NAMES.items()}
_GENDERS = {"male": "M", "female": "F", "other": "O", "none": "N", "unknown": "U"}

_APPLE_LABEL = re.compile(r"_\$!<(.+)>!\$_")
_ANNIVERSARY_LABEL = "_$!<Anniversary>!$_"
# Apple's own labels of a related person, and RFC 6350 §6.6.6 types that Apple has no label for.
_APPLE_RELATIONS = frozenset(
    {
        "assistant", "brother", "child", "daughter", "father", "friend", "husband", "manager", "mother", "parent",
        "partner", "sister", "son", "spouse", "wife",
    }
)  # fmt: skip
_RFC_RELATIONS = frozenset(
    {
        "acquaintance", "agent", "co-resident", "co-worker", "colleague", "contact", "crush", "date", "emergency",
        "kin", "me", "met", "muse", "neighbor", "sibling", "sweetheart",
    }
)  # fmt: skip


def convert_card(card: Component, source: str, target: str) -> bytes:
    """The bytes of `card` in version `target` ("3.0" or "4.0"). source: the version it is in."""
    items = read_items(card, source, _agent_text)
    props = [item for item in items if isinstance(item, Prop)]
    if target == "4.0":
        if source != "4.0":
            _to_4(props)
    elif source == "4.0":
        _to_3(props)
    _complete(items, target)
    out = [raw_line(card.begin)]
    for item in items:
        if isinstance(item, Line):
            out.append(raw_line(item))
        elif not item.gone:
            out.append(item.raw())
            out += [new.raw() for new in item.after]
    out.append(b"END:VCARD\r\n" if card.end is None else raw_line(card.end))
    return b"".join(out)


def _agent_text(card: Component) -> str:
    return convert_card(card, _stated(card), "3.0").decode("utf-8", "replace")


def _stated(card: Component) -> str:
    version = (card.value("VERSION") or "").strip()
    return version if version in ("2.1", "3.0", "4.0") else "2.1"


def _complete(items: list[Item], target: str) -> None:
    """VERSION, FN (required by both) and N (required by 3.0), where the card lacks them."""
    first: dict[str, Prop] = {}
    for item in items:
        if isinstance(item, Prop):
            first.setdefault(item.name, item)
    version = first.get("VERSION")
    if version is None:
        version = Prop("VERSION", "VERSION", "", [], target)
        items.insert(0, version)
    elif target == "4.0" and items[0] is not version:
        items.remove(version)  # RFC 6350 §6.7.9: VERSION comes right after BEGIN
        items.insert(0, version)
    for item in items:
        if isinstance(item, Prop) and item.name == "VERSION":
            item.value = target
    kind = first.get("X-ADDRESSBOOKSERVER-KIND") or first.get("KIND")
    whole = kind is not None and kind.value.strip().lower() not in ("", "individual")
    if "FN" not in first:
        place = items.index(first.get("N", version)) + 1
        first["FN"] = Prop("FN", "FN", "", [], _full_name(first))
        items.insert(place, first["FN"])
    if "N" not in first and target == "3.0":
        text = unescape(first["FN"].value)
        items.insert(items.index(first["FN"]) + 1, Prop("N", "N", "", [], name_of(text, whole=whole)))


def name_of(full_name: str, *, whole: bool) -> str:
    """The raw value of N for someone of whom only FN is known. whole: a group or company, whose N is its name alone.

    CLIENT iOS, macOS: a group's N padded to `Name;;;;` is shown with its semicolons.
    """
    if whole:
        return escape(full_name)
    family, comma, given = full_name.partition(",")
    if not comma:
        given, _, family = full_name.strip().rpartition(" ")
        if not given:
            given, family = family, ""
    return f"{escape(family.strip())};{escape(given.strip())};;;"


def _full_name(first: dict[str, Prop]) -> str:
    if "N" in first:
        parts = [*split_value(first["N"].value, ";"), "", "", "", "", ""]
        words = [parts[3], parts[1], parts[2], parts[0], parts[4]]
        text = " ".join(unescape(word).strip() for word in words if word.strip())
        if text:
            return escape(text)
    for name in ("NICKNAME", "ORG", "EMAIL", "TEL"):
        if name in first and first[name].value.strip("; "):
            return escape(" ".join(unescape(part) for part in split_value(first[name].value, ";") if part))
    return ""


# 3.0 → 4.0


def _by_group(props: list[Prop]) -> dict[str, list[Prop]]:
    """The lines of each group, by its lower-case name; "" holds those without one."""
    found: dict[str, list[Prop]] = {}
    for prop in props:
        found.setdefault(prop.group.lower(), []).append(prop)
    return found


def _to_4(props: list[Prop]) -> None:
    has = Counter(prop.name for prop in props)
    groups = _by_group(props)
    uris = {prop.value.lower() for prop in props if prop.name == "IMPP"}
    for prop in props:
        if "pref" in prop.types() and prop.get("PREF") is None:
            _pref_to_4(prop)
        name = prop.name
        if name in _VALUES_TO_4:
            _VALUES_TO_4[name](prop)
        elif name in _GROUP_NAMES and _GROUP_NAMES[name] not in has:
            prop.rename(_GROUP_NAMES[name])
        elif name in _MESSENGERS:
            _messenger_to_4(prop, uris)
        elif name == "X-GENDER" and has["X-GENDER"] == 1 and "GENDER" not in has:
            if re.fullmatch(r"[MFONU]?(?:;.*)?", prop.value, re.S) or prop.value.strip().lower() in _GENDERS:
                prop.rename("GENDER")
                prop.value = _GENDERS.get(prop.value.strip().lower(), prop.value)
        elif name == "AGENT" and (prop.get("VALUE") or "").lower() == "uri" and not prop.types():
            prop.rename("RELATED")
            prop.add("TYPE", "agent", first=True)
    _anniversary_to_4(props, groups)
    _relations_to_4(props, groups)
    _labels_to_4(props)
    if has["SORT-STRING"] == 1:
        _sort_to_4(props)


def _pref_to_4(prop: Prop) -> None:
    """TYPE=pref → PREF=1 (RFC 6350 §5.3), in its place."""
    place = next(i for i, (key, text) in enumerate(prop.params) if key == "TYPE" and "pref" in text.lower())
    before = len(prop.params)
    prop.drop_type("pref")
    place += 1 if len(prop.params) == before else 0
    prop.params.insert(place, ("PREF", "PREF=1"))


def _messenger_to_4(prop: Prop, uris: set[str]) -> None:
    scheme = _MESSENGERS[prop.name]
    handle = unescape(prop.value)
    uri = f"{scheme}:{quote(handle, safe='@+-._~!$&()*/=')}"
    # Apple writes both forms of one handle: the old one then stays beside IMPP.
    if not handle.strip() or ":" in handle or uri.lower() in uris:
        return
    prop.add(_ORIGIN, prop.name)
    prop.rename("IMPP")
    prop.value = uri


def _labelled(groups: dict[str, list[Prop]], prop: Prop) -> Prop | None:
    """The X-ABLabel of prop's group, when the group is these two lines and nothing else."""
    group = groups[prop.group.lower()]
    if not prop.group or len(group) != 2:
        return None
    other = group[0] if group[1] is prop else group[1]
    return other if other.name == "X-ABLABEL" and not other.params else None


def _anniversary_to_4(props: list[Prop], groups: dict[str, list[Prop]]) -> None:
    """Apple's labelled date, or else X-ANNIVERSARY; one only: ANNIVERSARY stands at most once (RFC 6350 §6.2.6)."""
    if any(prop.name == "ANNIVERSARY" for prop in props):
        return
    for prop in props:
        if prop.name == "X-ABDATE":
            label = _labelled(groups, prop)
            if label is not None and label.value == _ANNIVERSARY_LABEL:
                prop.rename("ANNIVERSARY")
                values.date_to_4(prop)
                label.gone = True
                return
    for prop in props:
        if prop.name in _ANNIVERSARIES:
            prop.add(_ORIGIN, prop.name)
            prop.rename("ANNIVERSARY")
            values.date_to_4(prop)
            return


def _relations_to_4(props: list[Prop], groups: dict[str, list[Prop]]) -> None:
    """X-ABRELATEDNAMES + X-ABLabel → RELATED;TYPE=…;VALUE=text; a label of the user's own stays in the group."""
    for prop in props:
        if prop.name != "X-ABRELATEDNAMES" or prop.types() or prop.get("VALUE") is not None:
            continue
        label = _labelled(groups, prop)
        if label is not None:
            apple = _APPLE_LABEL.fullmatch(label.value)
            word = (apple.group(1) if apple else label.value).lower()
            same = label.value == f"_$!<{word.capitalize()}>!$_" if apple else label.value == word
            if same and word in (_APPLE_RELATIONS if apple else _RFC_RELATIONS):
                prop.add("TYPE", word)
                label.gone = True
        prop.add("VALUE", "text")
        prop.rename("RELATED")


def _address_key(prop: Prop) -> tuple[str, frozenset[str], str, str]:
    types = frozenset(prop.types())
    return prop.group.lower(), types, (prop.get("PREF") or ""), (prop.get("LANGUAGE") or "").lower()


def _labels_to_4(props: list[Prop]) -> None:
    """LABEL → the LABEL parameter of its ADR (RFC 6350 §6.3.1), where it is clear which; else it stays a line."""
    by_key: dict[tuple[str, frozenset[str], str, str], tuple[list[Prop], list[Prop]]] = {}
    for prop in props:
        if prop.name == "ADR" and prop.get("LABEL") is None:
            by_key.setdefault(_address_key(prop), ([], []))[0].append(prop)
        elif prop.name == "LABEL" and all(key in ("TYPE", "PREF", "LANGUAGE") for key, _ in prop.params):
            by_key.setdefault(_address_key(prop), ([], []))[1].append(prop)
    place = {id(prop): index for index, prop in enumerate(props)}
    for addresses, texts in by_key.values():
        if len(addresses) == len(texts):
            pairs = list(zip(addresses, texts, strict=True))
        else:
            at = {place[id(address)] + 1: address for address in addresses}
            pairs = [(at[place[id(text)]], text) for text in texts if place[id(text)] in at]
        for address, text in pairs:
            plain = unescape(text.value)
            if not plain:
                continue
            address.add("LABEL", plain.replace("\r\n", "\n").replace("\\", "\\\\"))
            text.gone = True


def _sort_to_4(props: list[Prop]) -> None:
    """SORT-STRING → SORT-AS of N (RFC 6350 §5.9)."""
    name = next((prop for prop in props if prop.name == "N"), None)
    key = next((prop for prop in props if prop.name == "SORT-STRING" and not prop.params and not prop.group), None)
    if name is None or key is None or name.get("SORT-AS") is not None or not key.value:
        return
    name.add("SORT-AS", unescape(key.value))
    key.gone = True


# 4.0 → 3.0


def _to_3(props: list[Prop]) -> None:
    has = {prop.name for prop in props}
    groups = _by_group(props)
    free = (name for name in map("item{}".format, count(1)) if name not in groups)
    for prop in props:
        _params_to_3(prop)
        name = prop.name
        if name in _VALUES_TO_3:
            _VALUES_TO_3[name](prop)
        elif name in _GROUP_NAMES_BACK and _GROUP_NAMES_BACK[name] not in has:
            prop.rename(_GROUP_NAMES_BACK[name])
        elif name == "TEL":
            _telephone_to_3(prop)
        elif name == "IMPP":
            _messenger_to_3(prop)
        elif name == "GENDER" and "X-GENDER" not in has:
            prop.rename("X-GENDER")
        elif name == "ANNIVERSARY":
            _anniversary_to_3(prop, groups, free)
        elif name == "RELATED":
            _relation_to_3(prop, groups, free)
        elif name == "ADR" and prop.get("LABEL"):
            _label_to_3(prop)
        elif name == "N" and prop.get("SORT-AS") and "SORT-STRING" not in has:
            key = Prop("SORT-STRING", "SORT-STRING", "", [], escape(decode_caret(prop.get("SORT-AS") or "")))
            prop.drop("SORT-AS")
            prop.after.append(key)
            has.add("SORT-STRING")


def _params_to_3(prop: Prop) -> None:
    """PREF=1 → TYPE=pref; a quoted list of types is unquoted: to a reader of 3.0 the quotes make it one word."""
    for index, (key, text) in enumerate(prop.params):
        if key == "PREF" and text.partition("=")[2] == "1":
            prop.params[index] = ("TYPE", "TYPE=pref")
        elif key == "TYPE" and '"' in text and not re.search(r'[;:]|"[^",]*"[^",]', text):
            prop.params[index] = (key, text.replace('"', ""))


def _telephone_to_3(prop: Prop) -> None:
    """A tel: URI → the number as text, the only form of RFC 2426 §3.3.1."""
    if (prop.get("VALUE") or "").lower() == "uri" and prop.value[:4].lower() == "tel:":
        prop.drop("VALUE")
        prop.value = escape(unescape(prop.value[4:]))


def _messenger_to_3(prop: Prop) -> None:
    name = (prop.get(_ORIGIN) or "").upper()
    scheme = _MESSENGERS.get(name)
    if scheme is not None and prop.value.lower().startswith(scheme + ":"):
        prop.drop(_ORIGIN)
        prop.rename(name)
        prop.value = escape(unquote(prop.value[len(scheme) + 1 :]))


def _add_label(prop: Prop, label: str, free: Iterator[str]) -> None:
    """An X-ABLabel beside prop, in prop's group or a new one."""
    prop.group = prop.group or next(free)
    prop.after.append(Prop("X-ABLABEL", "X-ABLabel", prop.group, [], label))


def _in_company(groups: dict[str, list[Prop]], prop: Prop) -> bool:
    """Whether other lines share prop's group."""
    return bool(prop.group) and len(groups[prop.group.lower()]) > 1


def _anniversary_to_3(prop: Prop, groups: dict[str, list[Prop]], free: Iterator[str]) -> None:
    origin = (prop.get(_ORIGIN) or "").upper()
    if (prop.get("VALUE") or "").lower() == "text":
        return
    if origin in _ANNIVERSARIES:
        prop.drop(_ORIGIN)
        prop.rename(origin)
        values.date_to_3(prop)
    elif not _in_company(groups, prop):
        prop.rename("X-ABDATE")
        values.date_to_3(prop)
        _add_label(prop, _ANNIVERSARY_LABEL, free)


def _relation_to_3(prop: Prop, groups: dict[str, list[Prop]], free: Iterator[str]) -> None:
    types = [kind for kind in prop.types() if kind != "pref"]
    value = (prop.get("VALUE") or "uri").lower()
    if value != "text":
        if types == ["agent"]:
            prop.rename("AGENT")
            prop.drop_type("agent")
            prop.drop("VALUE")
            prop.add("VALUE", "uri")
        return  # a link to another card: Apple would show it as a name
    company = _in_company(groups, prop)
    known = len(types) == 1 and (types[0] in _APPLE_RELATIONS or types[0] in _RFC_RELATIONS)
    if types and (company or not known):
        return
    prop.rename("X-ABRELATEDNAMES")
    prop.drop("VALUE")
    if types:
        prop.drop_type(types[0])
        apple = types[0] in _APPLE_RELATIONS
        _add_label(prop, f"_$!<{types[0].capitalize()}>!$_" if apple else types[0], free)


def _label_to_3(prop: Prop) -> None:
    text = next(text for key, text in prop.params if key == "LABEL").partition("=")[2]
    if text.startswith('\\"') and text.endswith('\\"'):
        text = text[2:-2]  # some writers put a backslash before the quotes of a parameter
    text = unescape(decode_caret(text.replace('"', "")))
    prop.drop("LABEL")
    params = [param for param in prop.params if param[0] in ("TYPE", "LANGUAGE")]
    prop.after.append(Prop("LABEL", "LABEL", prop.group, params, escape(text)))


_VALUES_TO_4: dict[str, Callable[[Prop], None]] = {
    "BDAY": values.date_to_4,
    "REV": values.timestamp_to_4,
    "GEO": values.position_to_4,
    "TZ": values.zone_to_4,
    **dict.fromkeys(BINARY, values.binary_to_4),
}
_VALUES_TO_3: dict[str, Callable[[Prop], None]] = {
    "BDAY": values.date_to_3,
    "REV": values.timestamp_to_3,
    "GEO": values.position_to_3,
    "TZ": values.zone_to_3,
    **dict.fromkeys(BINARY, values.binary_to_3),
}
