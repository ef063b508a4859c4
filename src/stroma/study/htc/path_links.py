"""`path_links.json`: images of other data sets that belong to a data set too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stroma.core.errors import InvalidData, UsageError
from stroma.core.files import read_json
from stroma.study.datasets import open_datasets
from stroma.study.htc.names import ImageName
from stroma.study.recording import Recording
from stroma.study.study import Study

LINKS_FILE = "path_links.json"


def read_path_links(path: Path | str) -> dict[str, tuple[ImageName, ...]]:
    """Read a table of links: group → image names with the annotations that are meant.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is no table of lists of image names; the file and the value are named.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict):
        raise InvalidData("holds no table of links", where=path)
    links = {}
    for group, names in content.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidData(f"the group '{group}' is no list of image names", where=path)
        try:
            links[group] = tuple(ImageName.parse(name) for name in names)
        except UsageError as error:
            raise InvalidData(f"the group '{group}': {error.what}", where=path) from error
    return links


def linked_recordings(study: Study, *, cache: Path | str | None = None) -> Iterator[tuple[str, Recording]]:
    """Go through the images of other known data sets that a data set links to.

    Args:
        study: Whose root, or its folder `data`, may hold `path_links.json`; without it there are none.
        cache: As for `open_dataset`.

    Yields:
        Group and recording, in the order of the file.

    Raises:
        InvalidData: as `read_path_links`, or a linked image or annotation is in no known data set.
    """
    places = [study.root / "data" / LINKS_FILE, study.root / LINKS_FILE]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return
    known = list(open_datasets(cache=cache))
    for group, names in read_path_links(path).items():
        for name in names:
            home = next((other for other in known if name.image_id in other), None)
            if home is None:
                raise InvalidData(
                    f"the group '{group}' links to '{name.image_id}', which is in no known data set",
                    where=path,
                    next_step="Name its data set in the environment: stroma info says how",
                )
            try:
                linked = home[str(name)]
            except UsageError as error:
                raise InvalidData(
                    f"the group '{group}': {error.what}", where=path, next_step=error.next_step
                ) from error
            yield group, linked
