"""The name in a client's certificate, as ZooKeeper's X509AuthenticationProvider writes it: what ACLs of scheme x509 name.

    Certificate ::= SEQUENCE { tbs SEQUENCE { [0] version, serial, algorithm, issuer, validity, subject Name, ... }, ... }
    Name ::= SEQUENCE OF SET OF SEQUENCE { type OBJECT IDENTIFIER, value ANY }            DER: tag, size, content

The text is Java's X500Principal.getName(), that is RFC 2253 with what Java does beyond it: the last part first, nine keywords,
any other type as its number with the value's DER in hex, and the characters of ESCAPED escaped wherever they stand.
Rule: the certificate has been verified before it comes here; still, bytes of no form raise ValueError."""

from __future__ import annotations

from collections.abc import Iterator

KEYWORDS = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}
ESCAPED = ',=+<>#;"\\'

_SEQUENCE, _SET, _OID, _VERSION = 0x30, 0x31, 0x06, 0xA0
# Tags of strings, and how they are encoded.
_CHARSETS = {
    0x0C: "utf-8",
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # T61String
    0x16: "ascii",  # IA5String
    0x1B: "ascii",  # GeneralString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}


def subject_name(certificate: bytes) -> str:
    """The subject of a certificate in DER.  Raises ValueError when the bytes are none."""
    fields = list(_items(_content(_content(certificate, _SEQUENCE), _SEQUENCE)))
    place = 5 if fields and fields[0][0] == _VERSION else 4
    if len(fields) <= place or fields[place][0] != _SEQUENCE:
        raise ValueError("a certificate without a subject")
    parts = ["+".join(map(_attribute, _items(part))) for part in _sets(fields[place][1])]
    return ",".join(reversed(parts))


def _sets(name: bytes) -> Iterator[bytes]:
    for tag, content, _ in _items(name):
        if tag != _SET:
            raise ValueError("a name with a part that is no set")
        yield content


def _attribute(item: tuple[int, bytes, bytes]) -> str:
    """One type and value, as `CN=somebody`."""
    if item[0] != _SEQUENCE:
        raise ValueError("a part of a name that is no sequence")
    (type_tag, type_content, _), (tag, content, whole) = _items(item[1])
    if type_tag != _OID:
        raise ValueError("a part of a name without a type")
    number = _number(type_content)
    keyword = KEYWORDS.get(number)
    if keyword is None or tag not in _CHARSETS:
        return f"{keyword or number}=#{whole.hex()}"
    return f"{keyword}={_escaped(content.decode(_CHARSETS[tag], 'replace'))}"


def _escaped(value: str) -> str:
    text = "".join("\\" + each if each in ESCAPED else "\\00" if each == "\0" else each for each in value)
    inner = text.strip(" \r")
    lead = len(text) - len(text.lstrip(" \r")) if inner else len(text)
    before, after = text[:lead], text[lead + len(inner) :]
    return "".join("\\" + each for each in before) + inner + "".join("\\" + each for each in after)


def _number(content: bytes) -> str:
    """An object identifier with dots."""
    numbers, value = [], 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    if not numbers:
        raise ValueError("an empty object identifier")
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))


def _content(data: bytes, expected: int) -> bytes:
    tag, content, _ = next(_items(data), (0, b"", b""))
    if tag != expected:
        raise ValueError(f"DER of tag {tag:#x} where {expected:#x} belongs")
    return content


def _items(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(tag, content, the whole) of what stands one after the other."""
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("DER is cut short")
        size, begin = data[at + 1], at + 2
        if size & 0x80:
            begin += size & 0x7F
            size = int.from_bytes(data[at + 2 : begin], "big")
        end = begin + size
        if end > len(data):
            raise ValueError("DER is cut short")
        yield data[at], data[begin:end], data[at:end]
        at = end
