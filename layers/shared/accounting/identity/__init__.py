"""Access tokens of other identity providers: the accepted issuers, their public keys, and what their claims mean.

Imported only where issuers are configured: it needs pydantic and, in the authorizer's package, cryptography.
"""
