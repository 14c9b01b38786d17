"""Decisions as pure functions: no boto3, no environment, no clock, no randomness. Imports nothing but itself."""
