"""Reports of sweeps whose output is in a bucket: named by their address, and uploaded to its folder."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from analysis.reader.client import StoreError
from fcos.errors import ConfigError
from fcos.storage.bucket.address import Address, is_address, mirror_of
from fcos.storage.bucket.objects import Objects, open_objects
from fcos.storage.store_conventions import Artifact, default_file, default_uri


@dataclass(frozen=True)
class BucketReport:
    """A report that is written to a local folder and goes to a bucket."""

    folder: Path
    objects: Objects

    def upload(self) -> None:
        """Upload the files of the report; raises OSError."""
        self.objects.upload_folder(self.folder)


def take_address(options: argparse.Namespace) -> BucketReport | None:
    """Replace the address of a sweep in the options by its name, its store and its folder here.

    Returns where the report goes, None for a sweep that is not named by an address, or with --output. Raises StoreError
    for an address that cannot be used, and where no store is given and none of its sweeps is on this machine.
    """
    if options.sweep is None or not is_address(options.sweep):
        return None
    try:
        address = Address.parse(options.sweep)
        folder, objects = mirror_of(address.above()), open_objects(address.below(Artifact.REPORT))
    except ConfigError as error:
        raise StoreError(str(error)) from None
    if options.tracking_uri is None and not default_file(folder).exists():
        raise StoreError(
            f"{address}: no tracking store of its sweeps is on this machine; give --tracking-uri, or the sweep's own "
            "command with report=true, which makes one of what the bucket has"
        )
    options.sweep, options.tracking_uri = address.name, options.tracking_uri or default_uri(folder)
    if options.output is not None:
        return None
    options.output = folder / address.name / Artifact.REPORT
    return BucketReport(options.output, objects)
