"""Access tokens of other identity providers: who may issue them, their public keys, and what their claims mean.

Imported only where issuers are configured: it needs pydantic and, in the authorizer's package, cryptography.
"""
