"""Reads CloudFormation templates as data."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from local.paths import TEMPLATE

if TYPE_CHECKING:
    from pathlib import Path


class _Loader(yaml.CSafeLoader):
    """YAML with CloudFormation's short intrinsics: ``!Ref X`` is read as ``{"Ref": "X"}``."""


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: str(value).split(".", 1) if suffix == "GetAtt" else value}  # JSON has a list for `!GetAtt X.Arn`
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)  # noqa: S101 - YAML has no fourth kind of node
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _intrinsic)


def read(path: Path) -> dict[str, Any]:
    """Return a template in the form that it has in JSON."""
    loaded: dict[str, Any] = yaml.load(path.read_text(), _Loader)  # noqa: S506 - it is a safe loader
    return loaded


@cache
def template() -> dict[str, Any]:
    return read(TEMPLATE)
