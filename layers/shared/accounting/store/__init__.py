"""The table. Only this package knows keys, attributes and DynamoDB."""
