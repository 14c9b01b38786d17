"""Decisions as pure functions: no boto3, no environment, no clock, no randomness.

Its modules import only each other and the standard library.
"""
