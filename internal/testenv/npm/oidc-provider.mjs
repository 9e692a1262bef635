// The upstream OpenID provider of the tests: panva's certified oidc-provider on loopback.
// usage: node oidc-provider.mjs CONFIG.json
// CONFIG: {modules, port, issuer, alg, idTokenClaims, accessTTL, keys, clients, people}; keys is the file that the
// signing key is kept in, so that a restart keeps it. Everything else lives in memory and goes with the process.
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const config = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const require = createRequire(path.join(config.modules, 'here.js'));
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

const people = Object.fromEntries(config.people.map((p) => [p.username, p]));
const bySubject = Object.fromEntries(config.people.map((p) => [p.claims.sub, p]));

function signingKey() {
  if (fs.existsSync(config.keys)) return JSON.parse(fs.readFileSync(config.keys, 'utf8'));
  const make = {
    RS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
    PS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: () => crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    EdDSA: () => crypto.generateKeyPairSync('ed25519'),
  }[config.alg];
  const key = { ...make().privateKey.export({ format: 'jwk' }), use: 'sig', alg: config.alg, kid: crypto.randomUUID() };
  fs.writeFileSync(config.keys, JSON.stringify(key), { mode: 0o600 });
  return key;
}

async function grantWhatWasAsked(ctx) {
  const chosen = ctx.oidc.result?.consent?.grantId;
  if (chosen) return ctx.oidc.provider.Grant.find(chosen);
  const grant = new ctx.oidc.provider.Grant({
    clientId: ctx.oidc.client.clientId,
    accountId: ctx.oidc.session.accountId,
  });
  grant.addOIDCScope([...ctx.oidc.requestParamScopes].join(' '));
  await grant.save();
  return grant;
}

const provider = new Provider(config.issuer, {
  clients: config.clients.map((c) => ({ id_token_signed_response_alg: config.alg, ...c })),
  jwks: { keys: [signingKey()] },
  scopes: ['openid', 'offline_access', 'profile', 'email', 'groups'],
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  conformIdTokenClaims: !config.idTokenClaims,
  cookies: { keys: [crypto.randomBytes(16).toString('hex')] },
  clockTolerance: 0,
  ttl: { AccessToken: config.accessTTL, IdToken: 600, Session: 3600, Interaction: 600, Grant: 3600, RefreshToken: 3600 },
  issueRefreshToken: async (_, client, code) =>
    client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  features: {
    devInteractions: { enabled: false },
    userinfo: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  findAccount: async (_, sub) => bySubject[sub] && { accountId: sub, claims: async () => bySubject[sub].claims },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  loadExistingGrant: grantWhatWasAsked,
  renderError: async (ctx, out) => {
    ctx.type = 'json';
    ctx.body = out;
  },
});
provider.on('server_error', (_, err) => console.error(err));

async function readForm(request) {
  let body = '';
  for await (const chunk of request) body += chunk;
  return new URLSearchParams(body);
}

// The sign-in page: GET shows a form, POST login= and password= ends the interaction, POST abort=1 refuses.
async function interact(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (details.prompt.name === 'consent') {
    const grant = new provider.Grant({ clientId: details.params.client_id, accountId: details.session.accountId });
    grant.addOIDCScope(details.params.scope);
    const consent = { grantId: await grant.save() };
    return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
  }
  if (request.method !== 'POST') {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    return response.end(`<!doctype html><title>Upstream sign-in</title><form method="post">
<label>Login <input name="login"></label> <label>Password <input name="password" type="password"></label>
<button>Sign in</button></form>`);
  }
  const form = await readForm(request);
  if (form.get('abort')) {
    const refusal = { error: 'access_denied', error_description: 'the person refused' };
    return provider.interactionFinished(request, response, refusal, {});
  }
  const person = people[form.get('login')];
  if (!person || person.password !== form.get('password')) {
    response.statusCode = 401;
    return response.end('wrong login or password');
  }
  const login = { accountId: person.claims.sub, amr: ['pwd'], remember: true };
  return provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
}

const answer = provider.callback();
const server = http.createServer(async (request, response) => {
  if (!/^\/interaction\/[\w-]+$/.test(request.url)) return answer(request, response);
  try {
    await interact(request, response);
  } catch (err) {
    response.statusCode = 400;
    response.end(String(err.message));
  }
});
server.listen(config.port, '127.0.0.1', () => console.log('listening', config.issuer));
process.on('SIGTERM', () => process.exit(0));
