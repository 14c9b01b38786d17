"""Access tokens of other identity providers: the accepted issuers, their public keys, and what their claims mean.

The authorizer imports this package only if issuers are configured. The package needs pydantic and cryptography. Only
the authorizer's dependencies include cryptography.
"""
