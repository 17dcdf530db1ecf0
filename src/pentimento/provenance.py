"""Where a picture came from, written into the picture: IPTC's digital source type and our own record, as XMP.

The record is JSON (ASCII only, so that no file name can break the XML) in the property ``pentimento:record``. Reading
trusts nothing: a picture comes from anywhere, so a document type, an entity or broken XML means "no record".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args
from xml.parsers import expat
from xml.sax.saxutils import escape

from pentimento import __version__
from pentimento.errors import InputError, suggest

__all__ = ["Provenance", "SourceType", "digital_source_type", "from_xmp", "to_xmp"]

SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_OURS = "urn:pentimento:provenance:1#"  # part of every file written: never changes

_RECORD = f"{_OURS} record"
_SOURCE_TYPE = f"{_IPTC_EXT} DigitalSourceType"
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{rdf}">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{iptc_ext}" xmlns:pentimento="{ours}">
   <Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
   <pentimento:record>{record}</pentimento:record>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Provenance:
    """What made a picture, from what, and how: enough to make it again.

    Args:
        verb: the command, e.g. ``"generate"``.
        source_type: IPTC's name for what the picture is: made by a model, or made from a picture by a model.
        model: name of the model, or None where there was none.
        weights_sha256: of the model's weights, hex, or None.
        seed: of the random draws, or None where nothing was drawn.
        options: of the verb, by name; JSON values only.
        inputs: name of each input file -> its SHA-256, hex.
        package_version: of Pentimento.
        time: when it was made, ISO 8601, UTC, to the second.

    Raises:
        InputError: an unknown `source_type`, or values that JSON cannot hold (NaN and infinity included).
    """

    verb: str
    source_type: SourceType
    model: str | None = None
    weights_sha256: str | None = None
    seed: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    package_version: str = __version__
    time: str = field(default_factory=_now)

    def __post_init__(self) -> None:
        if self.source_type not in get_args(SourceType):
            hint = suggest(str(self.source_type), get_args(SourceType))
            raise InputError(f"source_type: {self.source_type!r} is unknown; {hint}")
        _to_json(self)  # now, and not after the hours that the work may take


def to_xmp(record: Provenance) -> bytes:
    """The record as an XMP packet, UTF-8."""
    packet = _PACKET.format(
        rdf=_RDF,
        iptc_ext=_IPTC_EXT,
        ours=_OURS,
        source_type=_IPTC + record.source_type,
        record=escape(_to_json(record)),
    )
    return packet.encode()


def from_xmp(xmp: bytes) -> dict[str, Any] | None:
    """The record in an XMP packet, or None: there is none, or the packet is broken or hostile. Never raises."""
    text = _properties(xmp).get(_RECORD)
    if text is None:
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def digital_source_type(xmp: bytes) -> str | None:
    """IPTC's digital source type in an XMP packet of anyone's, or None. Never raises.

    The bare name, e.g. ``"trainedAlgorithmicMedia"``, where the value is an IPTC address, else the value as it stands.
    """
    value = _properties(xmp).get(_SOURCE_TYPE, "").strip()
    # IPTC addresses are seen with https too, though the vocabulary says http.
    return value.replace("https:", "http:", 1).removeprefix(_IPTC) or None


def _to_json(record: Provenance) -> str:
    fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    fields |= {"options": dict(record.options), "inputs": dict(record.inputs)}
    try:
        return json.dumps(fields, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"provenance: only values that JSON can hold can be recorded ({error})") from error


def _properties(xmp: bytes) -> dict[str, str]:
    """The two properties we read, whether they stand as an element, an attribute or an rdf:resource. First one wins.

    Expat is driven directly because it streams (no recursion on deep nesting) and lets a document type be refused,
    without which there are no entities.
    """
    found: dict[str, str] = {}
    pieces: list[str] = []

    def refuse(*_: object) -> None:
        raise ValueError("a document type in XMP")

    def start(name: str, attributes: dict[str, str]) -> None:
        pieces.clear()
        for wanted in (_RECORD, _SOURCE_TYPE):
            if wanted in attributes:
                found.setdefault(wanted, attributes[wanted])
            if name == wanted and f"{_RDF} resource" in attributes:
                found.setdefault(wanted, attributes[f"{_RDF} resource"])

    def end(name: str) -> None:
        if name in (_RECORD, _SOURCE_TYPE):
            found.setdefault(name, "".join(pieces))
        pieces.clear()

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = pieces.append
    try:
        parser.Parse(bytes(xmp).strip(b"\x00 \r\n\t"), True)
    except (expat.ExpatError, ValueError, TypeError, LookupError):
        return {}
    return found
