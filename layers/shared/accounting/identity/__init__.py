"""Access tokens of identity providers: the configured issuers, their public keys, and what a token's claims mean.

Of the functions, only the authorizer imports this package, and only if issuers are configured. The package needs PyJWT
and cryptography, and no other function is deployed with them.
"""
