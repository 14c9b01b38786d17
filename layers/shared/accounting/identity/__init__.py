"""Access tokens of identity providers: the configured issuers, their public keys, and what a token's claims mean.

The package needs PyJWT and cryptography. Only the authorizer is deployed with them. It imports the package only if
issuers are configured.
"""
