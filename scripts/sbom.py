"""The bill of materials of the locked dependencies, as CycloneDX JSON.

Made from `requirements.lock` and the metadata of what is installed, so it needs no network. What
only tests and checks use is in it with the scope `excluded`. Hashes stay in the lock: CycloneDX
wants those of one file, and a package is several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageMetadata, PackageNotFoundError, distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PRODUCT = "mailhearth"


def locked(lock: Path) -> dict[str, str]:
    """Canonical name -> version of all that the lock names, markers or not."""
    found = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", lock.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def bill(lock: Path) -> str:
    """The whole bill as JSON text."""
    versions = locked(lock)
    shipped = _closure(PRODUCT)
    product = distribution(PRODUCT)
    root = Component(
        name=PRODUCT,
        version=product.version,
        type=ComponentType.APPLICATION,
        licenses=_licenses(product.metadata),
        bom_ref=PRODUCT,
    )
    components = {name: _component(name, versions[name], name in shipped) for name in versions}
    bom = Bom(components=components.values())
    bom.metadata.component = root
    bom.register_dependency(root, [components[n] for n in _needs(PRODUCT) if n in components])
    for name, component in components.items():
        bom.register_dependency(component, [components[n] for n in _needs(name) if n in components])
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)


def _component(name: str, version: str, shipped: bool) -> Component:
    installed = _installed(name)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        scope=ComponentScope.REQUIRED if shipped else ComponentScope.EXCLUDED,
        purl=PackageURL("pypi", name=name, version=version),
        licenses=_licenses(installed.metadata) if installed else (),
        bom_ref=f"{name}=={version}",
    )


def _licenses(metadata: PackageMetadata) -> list[License]:
    """The SPDX expression where one is given, else the first line of the old free-text field."""
    factory = LicenseFactory()
    if "License-Expression" in metadata:
        return [factory.make_from_string(metadata["License-Expression"])]
    classified = [
        value.rpartition(" :: ")[2]
        for value in metadata.get_all("Classifier", [])
        if value.startswith("License :: OSI Approved :: ")
    ]
    text = next(iter(metadata.get_all("License", [])), "").strip().partition("\n")[0].lstrip("# ")
    return [factory.make_from_string(word) for word in ([text] if text else classified[:1])]


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:  # for another platform or Python version
        return None


def _needs(name: str, extras: Iterable[str] = ("",)) -> dict[str, set[str]]:
    """What an installed package requires here: canonical name -> extras asked for."""
    found: dict[str, set[str]] = {}
    installed = _installed(name)
    for line in (installed.requires if installed else None) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            found.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
    return found


def _closure(name: str) -> set[str]:
    """Everything that `name` needs at run time, directly or not."""
    seen: dict[str, set[str]] = {}
    waiting = [(name, {""})]
    while waiting:
        current, extras = waiting.pop()
        for needed, wanted in _needs(current, extras).items():
            known = seen.setdefault(needed, set())
            if not known or wanted - known:
                known |= wanted | {""}
                waiting.append((needed, set(known)))
    return set(seen)
