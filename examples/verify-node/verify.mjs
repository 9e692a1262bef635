// Checks an access token of Sallyport offline, with jose, and prints its claims.
//
//   npm install jose
//   node verify.mjs ISSUER AUDIENCE [JWKS-URL] < token
import { readFileSync } from 'node:fs';
import * as jose from 'jose';

const [issuer, audience, jwks = `${issuer}/.well-known/jwks.json`] = process.argv.slice(2);
if (!audience) {
  console.error('usage: node verify.mjs ISSUER AUDIENCE [JWKS-URL] < token');
  process.exit(1);
}

// In a server, make this once: it keeps the keys and fetches them again, at most every 30 s, for a new kid.
const keys = jose.createRemoteJWKSet(new URL(jwks));

try {
  const { payload } = await jose.jwtVerify(readFileSync(0, 'utf8').trim(), keys, {
    issuer,
    audience,
    typ: 'at+jwt', // what was signed for another purpose opens nothing here
    algorithms: ['ES256', 'RS256', 'EdDSA'], // never "none", and no HS256 with a public key
    requiredClaims: ['sub', 'exp', 'iat', 'sid'],
    clockTolerance: 10, // seconds between two clocks
  });
  console.log(JSON.stringify(payload));
} catch (error) {
  console.error(`refused: ${error.message}`);
  process.exit(1);
}
