#!/usr/bin/env python3
"""Checks an access token of Sallyport offline, with PyJWT, and prints its claims.

    pip install 'pyjwt[crypto]'
    verify.py ISSUER AUDIENCE [JWKS-URL] < token
"""
import json
import sys

import jwt


def verify(keys, issuer, audience, token):
    """Returns the claims of a token that is meant for this audience, now; raises jwt.PyJWTError otherwise."""
    if jwt.get_unverified_header(token).get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("not an access token")  # made for another purpose, it opens nothing here
    return jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token).key,
        algorithms=["ES256", "RS256", "EdDSA"],  # never "none", and no HS256 with a public key
        issuer=issuer,
        audience=audience,
        leeway=10,  # seconds between two clocks
        options={"require": ["iss", "sub", "aud", "exp", "iat", "sid"]},
    )


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: verify.py ISSUER AUDIENCE [JWKS-URL] < token")
    issuer, audience = sys.argv[1:3]
    jwks = sys.argv[3] if len(sys.argv) > 3 else issuer + "/.well-known/jwks.json"
    keys = jwt.PyJWKClient(jwks)  # in a server, make it once: it keeps the keys for five minutes
    try:
        claims = verify(keys, issuer, audience, sys.stdin.read().strip())
    except jwt.PyJWTError as error:
        sys.exit(f"refused: {error}")
    print(json.dumps(claims))


if __name__ == "__main__":
    main()
