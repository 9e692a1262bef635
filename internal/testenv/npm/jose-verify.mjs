// Verifies a JWT with npm jose and prints its claims as JSON: a second opinion on what Sallyport signs.
// usage: node jose-verify.mjs MODULES JWKS TOKEN ISSUER AUDIENCE; JWKS is an http(s) URL or a file.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, jwks, token, issuer, audience] = process.argv.slice(2);
const require = createRequire(path.join(modules, 'here.js'));
const jose = await import(pathToFileURL(require.resolve('jose')));
const keys = /^https?:/.test(jwks)
  ? jose.createRemoteJWKSet(new URL(jwks))
  : jose.createLocalJWKSet(JSON.parse(fs.readFileSync(jwks, 'utf8')));
const { payload } = await jose.jwtVerify(token, keys, { issuer, audience, requiredClaims: ['exp', 'iat', 'sub'] });
console.log(JSON.stringify(payload));
