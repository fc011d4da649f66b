"""The manifest: `pairlock.json`, the document that says what a package is.

`format` owns the version, `document` the data, `reading` and `writing` the two directions.
"""

from pairlock.manifest.document import (
    AdapterFacts,
    BaseOrigin,
    BasePin,
    CustomFacts,
    DeviceHints,
    EncodeSettings,
    GoldenBars,
    GoldenFacts,
    Kind,
    LayerFacts,
    LeftOutFile,
    Manifest,
    PeftFacts,
    Provenance,
    Role,
    Spaces,
    Trial,
)
from pairlock.manifest.format import FORMAT_VERSION, MANIFEST_NAME
from pairlock.manifest.reading import read_manifest
from pairlock.manifest.writing import manifest_data, package_digest, write_manifest

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "AdapterFacts",
    "BaseOrigin",
    "BasePin",
    "CustomFacts",
    "DeviceHints",
    "EncodeSettings",
    "GoldenBars",
    "GoldenFacts",
    "Kind",
    "LayerFacts",
    "LeftOutFile",
    "Manifest",
    "PeftFacts",
    "Provenance",
    "Role",
    "Spaces",
    "Trial",
    "manifest_data",
    "package_digest",
    "read_manifest",
    "write_manifest",
]
