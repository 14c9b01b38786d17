"""The table: the only package that knows keys, attributes and DynamoDB."""
