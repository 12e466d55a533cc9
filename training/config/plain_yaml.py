"""Parsing of YAML that refuses duplicate keys and aliases that expand without limit."""

from __future__ import annotations

import os
from typing import Any

import yaml

from napari_hyperspace.core.errors import HyperspaceError

_MAX_NODES = 1_000_000
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """The safe loader of PyYAML, which would keep the last of several equal keys."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        # Before merge keys are resolved: a key may replace one of a merged mapping.
        seen: set[object] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node)
            if key in seen:
                raise HyperspaceError(
                    "a key is given twice",
                    field=str(key),
                    found=f"again in line {key_node.start_mark.line + 1}",
                    fix="Remove one of the two",
                )
            seen.add(key)
        return node

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _expanded_size(node, {})
        return node


def _expanded_size(node: yaml.Node, sizes: dict[int, int | None]) -> int:
    """Return the number of nodes with every alias replaced by its content."""
    number = id(node)
    if number in sizes:
        known = sizes[number]
        if known is None:
            raise HyperspaceError("an alias is part of its own content")
        return known
    sizes[number] = None
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    size = 1 + sum(_expanded_size(child, sizes) for child in children)
    if size > _MAX_NODES:
        raise HyperspaceError(
            "the aliases expand to too many values", expected=f"at most {_MAX_NODES:,}"
        )
    sizes[number] = size
    return size


def parse_yaml(text: str, *, where: str | os.PathLike[str] | None = None) -> object:
    """Parse YAML of plain values.

    Parameters
    ----------
    text
        A YAML document.
    where
        Its file, for errors.

    Raises
    ------
    HyperspaceError
        If it is not plain YAML, has a key twice, is nested too deeply, or has a number with more
        digits than Python converts.
    """
    try:
        return yaml.load(text, _Loader)
    except HyperspaceError as error:
        raise error.replace(where=where) from None
    except RecursionError as error:
        raise HyperspaceError("the values are nested too deeply", where=where) from error
    # PyYAML constructs some tags, such as !!timestamp, from texts that it has not checked.
    except (
        yaml.YAMLError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise HyperspaceError(
            "not plain YAML", where=where, found=" ".join(str(error).split())
        ) from error
