"""Verifies a JWT with PyJWT and prints its claims as JSON: a second opinion on what Sallyport signs.

usage: pyjwt-verify.py JWKS TOKEN ISSUER AUDIENCE; JWKS is an http(s) URL or a file.
"""
import json
import sys
import urllib.request

import jwt

jwks, token, issuer, audience = sys.argv[1:]
if jwks.startswith(("http://", "https://")):
    with urllib.request.urlopen(jwks, timeout=10) as response:
        document = json.load(response)
else:
    with open(jwks, encoding="utf-8") as file:
        document = json.load(file)

kid = jwt.get_unverified_header(token).get("kid")
found = [k for k in document["keys"] if k.get("kid") == kid]
if len(found) != 1:
    sys.exit(f"{len(found)} keys have the token's kid")
key = jwt.PyJWK(found[0])
algorithms = [found[0]["alg"]]  # the key chooses the algorithm, never the token
claims = jwt.decode(token, key.key, algorithms=algorithms, issuer=issuer, audience=audience,
                    options={"require": ["exp", "iat", "sub", "iss", "aud"]})
print(json.dumps(claims))
