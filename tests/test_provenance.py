"""Provenance: what is recorded comes back, and nothing a stranger's file holds can do harm."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pentimento import __version__
from pentimento.errors import InputError
from pentimento.provenance import Provenance, digital_source_type, from_xmp, to_xmp

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
EXT = 'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'


def _packet(description: str) -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}>{description}</rdf:RDF></x:xmpmeta>'.encode()


def test_everything_recorded_comes_back() -> None:
    record = Provenance(
        "restore",
        "compositeWithTrainedAlgorithmicMedia",
        model='house <&> "quotes" \']]>',
        weights_sha256="ab" * 32,
        seed=7,
        options={"noise": 0.1, "mask": None, "text": "é 画 \x00 \ud800"},
        inputs={"a&b.png": "cd" * 32},
    )
    found = from_xmp(to_xmp(record))
    assert found is not None
    assert found["model"] == record.model
    assert found["options"] == record.options
    assert found["inputs"] == record.inputs
    assert (found["verb"], found["seed"], found["weights_sha256"]) == ("restore", 7, "ab" * 32)
    assert found["package_version"] == __version__
    assert digital_source_type(to_xmp(record)) == "compositeWithTrainedAlgorithmicMedia"
    assert f"{IPTC}compositeWithTrainedAlgorithmicMedia".encode() in to_xmp(record)


def test_time_is_now_in_utc() -> None:
    time = datetime.datetime.fromisoformat(Provenance("generate", "trainedAlgorithmicMedia").time)
    assert time.utcoffset() == datetime.timedelta(0)
    assert abs(datetime.datetime.now(datetime.UTC) - time) < datetime.timedelta(minutes=1)


def test_what_cannot_be_recorded_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="JSON"):
        Provenance("generate", "trainedAlgorithmicMedia", options={"x": object()})
    with pytest.raises(InputError, match="JSON"):
        Provenance("generate", "trainedAlgorithmicMedia", options={"x": float("nan")})
    with pytest.raises(InputError, match="did you mean 'trainedAlgorithmicMedia'"):
        Provenance("generate", "trainedAlgorithmicMedium")  # type: ignore[arg-type]


def test_source_type_as_others_write_it() -> None:
    value = f"{IPTC}digitalCapture"
    element = f"<rdf:Description {EXT}><Iptc4xmpExt:DigitalSourceType>{value}</Iptc4xmpExt:DigitalSourceType>"
    assert digital_source_type(_packet(element + "</rdf:Description>")) == "digitalCapture"
    assert digital_source_type(_packet(f'<rdf:Description {EXT} Iptc4xmpExt:DigitalSourceType="{value}"/>')) == (
        "digitalCapture"
    )
    resource = f'<rdf:Description {EXT}><Iptc4xmpExt:DigitalSourceType rdf:resource="{value}"/></rdf:Description>'
    assert digital_source_type(_packet(resource)) == "digitalCapture"
    assert digital_source_type(_packet(f'<rdf:Description {EXT} Iptc4xmpExt:DigitalSourceType="mine"/>')) == "mine"
    assert digital_source_type(_packet("<rdf:Description/>")) is None


def test_a_record_that_another_program_made_an_attribute() -> None:
    text = json.dumps({"verb": "generate"}).replace('"', "&quot;")
    ours = 'xmlns:p="urn:pentimento:provenance:1#"'
    assert from_xmp(_packet(f'<rdf:Description {ours} p:record="{text}"/>')) == {"verb": "generate"}


GOOD = to_xmp(Provenance("generate", "trainedAlgorithmicMedia"))
BOMB = (
    b'<!DOCTYPE l [<!ENTITY a "' + b"x" * 1000 + b'">'
    b'<!ENTITY b "' + b"&a;" * 1000 + b'"><!ENTITY c "' + b"&b;" * 1000 + b'">]><l>&c;</l>'
)


@pytest.mark.parametrize(
    "xmp",
    [
        b"",
        b"\x00\xff\xfe",
        b"not xml",
        GOOD[: len(GOOD) // 2],
        BOMB,
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + GOOD.split(b"?>", 1)[1].split(b"<?xpacket end")[0],
        b"<a>" * 100_000,
        to_xmp(Provenance("generate", "trainedAlgorithmicMedia")).replace(b'{"verb"', b'{{"verb"'),
        GOOD.replace(GOOD[GOOD.index(b"{") : GOOD.rindex(b"}") + 1], b"[" * 100_000),
        GOOD.replace(GOOD[GOOD.index(b"{") : GOOD.rindex(b"}") + 1], b"[1, 2]"),
        b'<?xml version="1.0" encoding="no-such"?><a/>',
    ],
    ids=lambda xmp: repr(xmp[:20]),
)
def test_hostile_packets_are_no_record(xmp: bytes) -> None:
    assert from_xmp(xmp) is None


def test_a_document_type_hides_the_source_type_too() -> None:
    body = GOOD.split(b"?>", 1)[1].split(b"<?xpacket end")[0]
    assert digital_source_type(body) == "trainedAlgorithmicMedia"
    assert digital_source_type(b"<!DOCTYPE r []>" + body) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise(junk: bytes) -> None:
    assert from_xmp(junk) is None
    from_xmp(GOOD[:150] + junk + GOOD[150:])
    digital_source_type(junk)


@given(
    st.dictionaries(
        st.text(), st.one_of(st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())
    )
)
def test_any_options_come_back(options: dict[str, object]) -> None:
    found = from_xmp(to_xmp(Provenance("generate", "trainedAlgorithmicMedia", options=options)))
    assert found is not None
    assert found["options"] == options
