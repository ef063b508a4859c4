"""Whether what was read back is what was written."""

from collections.abc import Mapping
from typing import Any

import shapely

from stroma.regions.annotation import Annotation


def same_annotation(one: Annotation, other: Annotation, *, tolerance_px: float = 0.0) -> bool:
    """Whether two annotations are equal, coordinates within `tolerance_px`."""
    for a, b in ((one.geometry, other.geometry), (one.nucleus, other.nucleus)):
        if (a is None) != (b is None) or (a is not None and not shapely.equals_exact(a, b, tolerance_px)):
            return False
    return _attributes(one) == _attributes(other)


def _attributes(annotation: Annotation) -> tuple[Any, ...]:
    names = [name for name in Annotation.__slots__ if name not in ("geometry", "nucleus")]
    return tuple(dict(value) if isinstance(value := getattr(annotation, name), Mapping) else value for name in names)
