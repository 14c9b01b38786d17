"""Access tokens of identity providers: the configured issuers, their public keys, and what a token's claims mean.

The authorizer imports this package only if issuers are configured. The package needs pydantic and cryptography. Only
the authorizer's dependencies include cryptography.
"""
