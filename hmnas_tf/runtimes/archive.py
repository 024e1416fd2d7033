"""The labelling of files that are, or end in, a ZIP archive."""

import zipfile

LABELLING = "labelling.json"


def read_labelling(path):
    """Returns the JSON text that lies in the archive."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(LABELLING).decode("utf-8")
