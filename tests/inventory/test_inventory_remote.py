"""An inventory of packages in S3."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pairlock.errors import ErrorKind
from pairlock.inventory import PackageState, VersionFacts, take


def only(**options: Any) -> VersionFacts:
    """The one version."""
    (facts,) = take(**options).versions()
    return facts


def test_packages_in_s3(s3_registry: Any, seaweedfs: Any, s3_proxy: Any, tiny_model: Path) -> None:
    """Every inventory lists names and sizes once, and fetches a manifest only when it changed;
    what is wrong is found, and a changed byte with deep."""
    s3_registry.log(tiny_model, "far")
    client = seaweedfs.client()
    first = only()
    s3_proxy.reset()
    again = only()
    assert first.package_state is PackageState.THERE and not first.findings
    assert again == first
    assert len(s3_proxy.requests()) == 1

    place = urlsplit(first.location)
    bucket, prefix = place.netloc, place.path.strip("/")
    key = f"{prefix}/payload/model/config.json"
    content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=content[:-1] + b" ")
    assert not only().findings
    assert [one.kind for one in only(deep=True).findings] == [ErrorKind.FILE_DIGEST]
    client.delete_object(Bucket=bucket, Key=key)
    assert [one.kind for one in only().findings] == [ErrorKind.FILE_MISSING]

    key = f"{prefix}/pairlock.json"
    content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=content.replace(b'"kind"', b'"Kind"'))
    assert only().package_state is PackageState.UNREADABLE
    client.delete_object(Bucket=bucket, Key=key)
    assert only().package_state is PackageState.MISSING
