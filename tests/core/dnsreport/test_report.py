"""A domain's DNS against zones of the tests' own: what is found, what is wrong, what to publish."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mailhearth_core.dnsreport.lookup import NoAnswerNow
from mailhearth_core.dnsreport.model import Asked, Part, Verdict, from_json, to_json, worst
from mailhearth_core.dnsreport.report import PARTS, look
from mailhearth_core.mail.dns import ZoneResolver

ADDRESS = "8.8.4.4"


def key(bits: int) -> str:
    public = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


@pytest.fixture(scope="module")
def good() -> dict[str, dict[str, Any]]:
    return {
        "a.example": {"mx": [{"host": "mx.a.example"}], "txt": ["v=spf1 mx -all"]},
        "mx.a.example": {"a": [ADDRESS]},
        "4.4.8.8.in-addr.arpa": {"ptr": ["mx.a.example"]},
        "_dmarc.a.example": {"txt": ["v=DMARC1; p=reject; rua=mailto:reports@a.example"]},
        "own._domainkey.a.example": {"txt": [key(2048)]},
    }


def parts(
    zone: dict[str, dict[str, Any]], domain: str = "a.example", **asked: Any
) -> dict[str, Part]:
    wanted = Asked(domain, asked.pop("smtp_host", "mx.a.example"), asked.pop("provider", "other"),
                   asked.pop("selectors", ("own",)))  # fmt: skip
    found = look(wanted, ZoneResolver(zone))
    assert from_json(to_json(found)) == found
    return {part.code: part for part in found}


def test_a_good_domain_is_good_in_every_part(good: dict[str, Any]) -> None:
    found = parts(good)
    assert list(found) == list(PARTS)
    wrong = {c: (p.summary, p.problems) for c, p in found.items() if p.verdict is not Verdict.GOOD}
    assert wrong == {}
    assert "1 of 10 lookups, 0 of 2 void" in found["spf"].summary
    assert found["dkim"].found[0].name == "own._domainkey.a.example"
    assert found["ptr"].found[0].value == "mx.a.example"
    assert worst(tuple(found.values())) is Verdict.GOOD


def test_nothing_published_is_told_with_the_records_to_publish() -> None:
    found = parts({"a.example": {"a": [ADDRESS]}, "mx.a.example": {"a": [ADDRESS]}}, selectors=())
    assert {code: part.verdict for code, part in found.items()} == {
        "mx": Verdict.BAD, "spf": Verdict.BAD, "dkim": Verdict.WARNING, "dmarc": Verdict.BAD,
        "ptr": Verdict.BAD, "blocklists": Verdict.GOOD,
    }  # fmt: skip
    published = {code: [(r.name, r.kind, r.value) for r in p.publish] for code, p in found.items()}
    assert published["spf"] == [("a.example", "TXT", "v=spf1 mx a:mx.a.example ~all")]
    assert published["dmarc"][0][:2] == ("_dmarc.a.example", "TXT")
    assert published["ptr"] == [(ADDRESS, "PTR", "mx.a.example")]
    assert published["dkim"][0][0] == "<selector>._domainkey.a.example"
    assert published["mx"][0][1] == "MX"


def test_spf_lookups_are_counted_through_includes(good: dict[str, Any]) -> None:
    zone = dict(good)
    zone["a.example"] = {**good["a.example"], "txt": ["v=spf1 include:s0.example -all"]}
    for n in range(12):
        inner = f"include:s{n + 1}.example" if n < 11 else "ip4:8.8.8.8"
        zone[f"s{n}.example"] = {"txt": [f"v=spf1 {inner} -all"]}
    found = parts(zone)["spf"]
    assert found.verdict is Verdict.BAD
    assert "at least 11 of 10 lookups" in found.summary


def test_void_lookups_and_an_open_end_are_told(good: dict[str, Any]) -> None:
    void = {
        "a.example": {
            **good["a.example"],
            "txt": ["v=spf1 a:x1.example a:x2.example a:x3.example -all"],
        }
    }
    found = parts(good | void)["spf"]
    assert found.verdict is Verdict.BAD
    assert "void" in " ".join((found.summary, *found.problems))
    everybody = {"a.example": {**good["a.example"], "txt": ["v=spf1 +all"]}}
    found = parts(good | everybody)["spf"]
    assert (found.verdict, "anybody" in found.problems[0]) == (Verdict.BAD, True)


def test_a_provider_that_spf_does_not_name_is_told(good: dict[str, Any]) -> None:
    found = parts(good, provider="gmail")["spf"]
    assert found.verdict is Verdict.WARNING
    assert "include:_spf.google.com" in found.problems[-1]


def test_dmarc_falls_back_to_the_organisation(good: dict[str, Any]) -> None:
    zone = good | {"news.a.example": {"mx": [{"host": "mx.a.example"}]}}
    zone["_dmarc.a.example"] = {"txt": ["v=DMARC1; p=reject; sp=quarantine"]}
    found = parts(zone, "news.a.example")["dmarc"]
    assert "quarantine, inherited from a.example" in found.summary
    assert found.found[0].name == "_dmarc.a.example"
    broken = good | {"_dmarc.a.example": {"txt": ["v=DMARC1; p=perhaps"]}}
    assert parts(broken)["dmarc"].verdict is Verdict.BAD


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("v=DKIM1; p=", "revoked"),
        ("v=DKIM1; k=rsa; p=AAAA", "cannot be read"),
        ("1024", "1024 bits"),
        ("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", ""),
    ],
)
def test_what_is_wrong_with_a_dkim_key(good: dict[str, Any], record: str, said: str) -> None:
    text = key(int(record)) if record.isdigit() else record
    found = parts(good | {"own._domainkey.a.example": {"txt": [text]}})["dkim"]
    if said:
        assert found.verdict is Verdict.BAD
        assert said in found.problems[0]
    else:
        assert (found.verdict, found.problems) == (Verdict.GOOD, ())


def test_the_common_selectors_are_tried_and_a_wrong_one_is_told(good: dict[str, Any]) -> None:
    zone = good | {"selector1._domainkey.a.example": good["own._domainkey.a.example"]}
    found = parts(zone, selectors=("mine",))["dkim"]
    assert found.verdict is Verdict.WARNING
    assert [record.name for record in found.found] == ["selector1._domainkey.a.example"]
    assert "'mine'" in found.problems[0]


def test_a_listing_is_told_and_a_refusal_is_not_taken_for_one(good: dict[str, Any]) -> None:
    listed = {"4.4.8.8.zen.spamhaus.org": {"a": ["127.0.0.2"]}}
    found = parts(good | listed)["blocklists"]
    assert found.verdict is Verdict.BAD
    assert "check.spamhaus.org" in found.problems[0]
    refused = {"4.4.8.8.zen.spamhaus.org": {"a": ["127.255.255.254"]}}
    found = parts(good | refused)["blocklists"]
    assert found.verdict is Verdict.GOOD
    assert "does not answer" in found.problems[0]


def test_a_name_that_does_not_lead_back_is_told(good: dict[str, Any]) -> None:
    zone = good | {"4.4.8.8.in-addr.arpa": {"ptr": ["elsewhere.example"]}}
    found = parts(zone)["ptr"]
    assert found.verdict is Verdict.BAD
    assert "does not lead back" in found.problems[0]


def test_a_dns_that_does_not_answer_is_no_evidence(
    good: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> None:
        raise NoAnswerNow("a.example cannot be looked up now.")

    monkeypatch.setattr("mailhearth_core.dnsreport.lookup.Lookup.ask", silent)
    assert {part.verdict for part in parts(good).values()} == {Verdict.UNKNOWN}
