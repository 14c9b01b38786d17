"""The resources in template.yaml, for tests that need the deployed definitions."""

from typing import Any

from local.template import template

__all__ = ["create_table", "resources", "template"]


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """The template's resources of a type, by logical id.

    Fails if there are none: a test that loops over no resources would check nothing.
    """
    resources = {name: found for name, found in template()["Resources"].items() if found["Type"] == kind}
    assert resources, f"the template has no {kind}"
    return resources


def create_table(client: Any, name: str) -> None:
    """Create the template's table, under another name."""
    (table,) = resources("AWS::DynamoDB::Table").values()
    wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    client.create_table(TableName=name, **{key: table["Properties"][key] for key in wanted})
