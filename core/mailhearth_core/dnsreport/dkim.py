"""The part on DKIM: public keys by selector (RFC 6376)."""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mailhearth_core.dnsreport.lookup import Lookup
from mailhearth_core.dnsreport.model import Asked, Part, Record, Verdict

SELECTORS = (
    "google", "selector1", "selector2", "default", "dkim", "mail", "s1", "s2", "k1", "k2", "k3",
    "fm1", "fm2", "fm3", "protonmail", "protonmail2", "protonmail3", "zoho", "zmail", "mxvault",
    "sig1", "smtp", "key1", "key2", "mandrill", "mailjet", "hostingermail1", "hostingermail-a",
    "titan1", "x",
)  # fmt: skip
"""Names that the common mail providers and servers use; the DNS lists none itself."""
NOBODY = "mailhearth-no-such-selector"
"""If this is answered, the domain answers to anything and its answers prove nothing."""
WEAK_BITS, GOOD_BITS = 1024, 2048
OF_PROVIDER = {"gmail": ("google",), "outlook": ("selector1", "selector2")}


def dkim(asked: Asked, lookup: Lookup) -> Part:
    """The keys that can be found; a person may name the selectors that the common ones lack."""
    own = tuple(dict.fromkeys(asked.selectors))
    likely = OF_PROVIDER.get(asked.provider, ())
    names = tuple(dict.fromkeys((*own, *likely, *SELECTORS)))
    if _key(NOBODY, asked, lookup) is not None:
        text = "Every selector is answered (a wildcard record), so the keys cannot be told apart."
        return Part("dkim", Verdict.WARNING, text, (), ("Remove the wildcard below _domainkey.",))
    found, problems, bad = [], [], 0
    for selector in names:
        key = _key(selector, asked, lookup)
        if key is None:
            if selector in own:
                problems.append(f"There is no key at the selector {selector!r} you named.")
            continue
        found.append(key)
        wrong = fault_of(key.value)
        if wrong:
            bad += 1
            problems.append(f"{selector}: {wrong}")
    if not found:
        return Part(
            "dkim",
            Verdict.BAD if own else Verdict.WARNING,
            "No DKIM key was found"
            + (" at the selectors you named." if own else " at the common selectors."),
            (),
            (*problems, "Turn signing on at your mail provider, or name your selector here."),
            (_to_publish(asked),),
        )
    verdict = Verdict.GOOD if not problems else Verdict.WARNING
    if bad == len(found):
        verdict = Verdict.BAD
    text = f"{len(found)} key{'s' * (len(found) != 1)} found."
    publish = (_to_publish(asked),) if verdict is Verdict.BAD else ()
    return Part("dkim", verdict, text, tuple(found), tuple(problems), publish)


def fault_of(record: str) -> str:
    """What is wrong with a key record; empty when nothing is."""
    tags = dict(_tags(record))
    kind = tags.get("k", "rsa")
    if tags.get("v", "DKIM1") != "DKIM1":
        return f"its version is {tags['v']!r}, not DKIM1."
    if "p" not in tags:
        return "the record holds no key (p=)."
    if not tags["p"]:
        return "the key is revoked (p= is empty)."
    if kind == "ed25519":
        return ""
    try:
        key = load_der_public_key(base64.b64decode(tags["p"], validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return "the key cannot be read; it may have been cut off when it was pasted."
    if not isinstance(key, RSAPublicKey):
        return f"the key is not of the kind that is stated ({kind})."
    if key.key_size < WEAK_BITS:
        return f"the key has {key.key_size} bits; receivers ignore keys below {WEAK_BITS}."
    if key.key_size < GOOD_BITS:
        return f"the key has {key.key_size} bits; {GOOD_BITS} are recommended."
    if "y" in tags.get("t", "").split(":"):
        return "the key is marked as a test (t=y)."
    return ""


def _key(selector: str, asked: Asked, lookup: Lookup) -> Record | None:
    name = f"{selector}._domainkey.{asked.domain}"
    for text in lookup.ask(name, "TXT") or ():
        tags = dict(_tags(text))
        if "p" in tags or tags.get("v") == "DKIM1":
            return Record(name, "TXT", text)
    return None


def _tags(record: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in record.split(";"))
    return [(name.strip(), "".join(value.split())) for name, mark, value in pairs if mark]


def _to_publish(asked: Asked) -> Record:
    selector = OF_PROVIDER.get(asked.provider, ("<selector>",))[0]
    value = "v=DKIM1; k=rsa; p=<the public key that your mail provider shows>"
    return Record(f"{selector}._domainkey.{asked.domain}", "TXT", value)
