"""Small pieces of English for what Stroma says."""

from __future__ import annotations


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`, `1,204 images`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
