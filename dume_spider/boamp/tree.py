"""JSON that was XML: a node is an object or a list of them, a leaf a text or ``{"#text"}``.

The columns ``gestion`` and ``donnees`` of the BOAMP are XML turned into JSON: attributes are
``@name``, text beside attributes ``#text``, an empty element ``""``, one child an object and
several a list. :class:`Node` hides that, and knows where each value stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dume_spider.decp.repair import clean

#: Where eForms notices hold what UBL has no place for, under their root element.
EFORMS_EXTENSION = (
    "ext:UBLExtensions",
    "ext:UBLExtension",
    "ext:ExtensionContent",
    "efext:EformsExtension",
)

#: A value with its place in the notice: ``{"value", "path"}``.
Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    """A JSON value and its path in the notice, parts joined by dots, positions from 0."""

    value: Any
    path: str

    def all(self, *names: str) -> list[Node]:
        """Every node under this one by these names, one after the other; lists are opened."""
        nodes = [self]
        for name in names:
            nodes = [
                child
                for node in nodes
                if isinstance(node.value, dict) and name in node.value
                for child in _each(node.value[name], f"{node.path}.{name}")
            ]
        return nodes

    def one(self, *names: str) -> Node | None:
        """The node by these names if there is exactly one."""
        nodes = self.all(*names)
        return nodes[0] if len(nodes) == 1 else None

    def has(self, name: str) -> bool:
        """Whether there is an element of this name, which may be empty."""
        return bool(self.all(name))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the elements in this node, without its attributes and text."""
        if not isinstance(self.value, dict):
            return ()
        return tuple(name for name in self.value if not name.startswith(("@", "#")))

    @property
    def text(self) -> str | None:
        """The text of a leaf on one line, HTML entities decoded; None if it has none."""
        raw = self.lines
        return (clean(raw) or None) if raw is not None else None

    @property
    def lines(self) -> str | None:
        """The text of a leaf as it is, with its line feeds."""
        value = self.value.get("#text") if isinstance(self.value, dict) else self.value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        return value if isinstance(value, str) else None

    def attribute(self, name: str) -> str | None:
        """The text of the attribute ``name``."""
        return Node(self.value.get(f"@{name}"), "").text if isinstance(self.value, dict) else None

    def found(self) -> Found | None:
        """The text with its path, None if there is no text."""
        return found(text, self.path) if (text := self.text) is not None else None


def _each(value: Any, path: str) -> Iterator[Node]:
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _each(item, f"{path}.{position}")
    elif value is not None:
        yield Node(value, path)


def found(value: Any, path: str) -> Found:
    """``value`` with its path."""
    return {"value": value, "path": path}


def agreed(nodes: Iterable[Node]) -> Node | None:
    """The first node with a text if no other one has a different text."""
    told = [(node, text) for node in nodes if (text := node.text) is not None]
    return told[0][0] if len({text for _, text in told}) == 1 else None


def eforms_notices(payload: Node) -> list[Node]:
    """The notice in a payload of eForms (``ContractAwardNotice``, …), whatever its kind."""
    return [
        notice for root in payload.all("EFORMS") for name in root.names for notice in root.all(name)
    ]
