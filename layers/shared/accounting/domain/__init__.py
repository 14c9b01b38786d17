"""Decisions as pure functions: no boto3, no environment, no clock, no randomness.

The modules of this package import only each other and the standard library.
"""
