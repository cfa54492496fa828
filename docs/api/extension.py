"""Griffe extension: shapes as plain text, and one entry for every name."""

from __future__ import annotations

import re

import griffe


class ShapesAndExports(griffe.Extension):
    """Escapes what Markdown would take for references, and removes re-exports from packages."""

    def on_instance(self, *, obj: griffe.Object, **kwargs) -> None:
        """Escapes shapes after a bracket, such as conditions["level_db"] [B], outside of code."""
        if obj.docstring:
            parts = obj.docstring.value.split("`")
            parts[::2] = [re.sub(r"\](\s?)\[", r"]\1\\[", part) for part in parts[::2]]
            obj.docstring.value = "`".join(parts)

    def on_package(self, *, pkg: griffe.Module, **kwargs) -> None:
        """Removes names that a package only imports; their own modules document them."""
        for module in [pkg, *(member for member in pkg.modules.values() if member.is_init_module)]:
            for name in [name for name, member in module.members.items() if member.is_alias]:
                del module.members[name]
