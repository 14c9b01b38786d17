"""Reads and writes the table. Only this package knows the table's keys and attributes, and DynamoDB."""
