"""One table a folder: name → `"module:object"`, imported on first use, extended by entry points."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stroma.core.errors import StromaError, UsageError, nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Registry:
    """The public objects and components of one folder.

    Args:
        folder: Dotted name of the package, for example `stroma.models`. Other distributions add to it
            with entry points of the group of the same name.
        table: Name → `"module:object"`.
    """

    def __init__(self, folder: str, table: Mapping[str, str]) -> None:
        self.folder = folder
        self.table = dict(table)

    @cached_property
    def plugins(self) -> dict[str, EntryPoint]:
        """Entry points of other distributions; a name of ours cannot be replaced."""
        from importlib.metadata import entry_points  # takes as long as the rest of `import stroma`

        return {point.name: point for point in entry_points(group=self.folder) if point.name not in self.table}

    def names(self) -> list[str]:
        """All names, ours first, in table order."""
        return [*self.table, *self.plugins]

    def get(self, name: str) -> Any:
        """Import and return the object called `name`.

        Raises:
            UsageError: `name` is unknown; the message has the nearest known name.
            StromaError: a plug-in cannot be imported.
        """
        if name in self.table:
            module, _, attribute = self.table[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        if name in self.plugins:
            point = self.plugins[name]
            try:
                return point.load()
            except (ImportError, AttributeError) as error:
                raise StromaError(
                    f"the plug-in '{name}' ({point.value}) cannot be imported: {error}",
                    where=self.folder,
                    next_step="Repair or uninstall the package that declares it",
                ) from error
        raise UsageError(f"unknown name '{name}' in {self.folder}", next_step=nearest(name, self.names()))

    def attributes(self) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
        """Return module-level `__getattr__` and `__dir__` that import from the table on first use."""

        def module_getattr(name: str) -> Any:
            if name in self.table:
                return self.get(name)
            raise AttributeError(f"module '{self.folder}' has no attribute '{name}'")

        return module_getattr, lambda: sorted(self.table)
