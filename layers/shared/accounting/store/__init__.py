"""Reads and writes the DynamoDB table. Only this package defines the table's keys and attributes."""
