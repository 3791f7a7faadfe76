// OpenID providers on loopback, made and steered over a control port. Ends when its input ends.
//
//   POST /issuers         {clients, ...}  a new issuer on a port of its own -> {id, issuer}
//   PATCH /issuers/<id>   {...}           changes how it behaves from now on
//   GET /issuers/<id>                     what it was asked
//
// How an issuer behaves:
//   person   {sub, claims, deny} that signs in without being asked; null shows a form instead
//   tamper   {discovery, token, userinfo, spend_codes}: what a thief between the two would do;
//            {id_token}: other claims, signed by the issuer itself
//   late     {path, ms}: how long an answer is held back
import './older_node/index.mjs';
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Readable } from 'node:stream';

console.warn = () => {};  // it warns of being no production set-up, which it is not
const { default: Provider } = await import('oidc-provider');
const { SignJWT, importJWK, decodeJwt } = await import('jose');
const HOST = '127.0.0.1';
const issuers = new Map();

function signingKey(state) {
  const [type, options] = {
    RS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }],
  }[state.algorithm];
  const key = generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' });
  return { ...key, alg: state.algorithm, use: 'sig', kid: state.id };
}

function configuration(state) {
  const cookie = (name) => `${state.id}_${name}`;  // cookies do not tell ports apart
  return {
    clients: state.clients,
    jwks: { keys: [state.key] },
    clientDefaults: { id_token_signed_response_alg: state.algorithm },
    cookies: {
      keys: [`cookies of ${state.id}`],
      names: {
        session: cookie('session'), interaction: cookie('interaction'), resume: cookie('resume'),
      },
    },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    conformIdTokenClaims: state.claims_in === 'userinfo',
    features: { devInteractions: { enabled: false } },
    pkce: { required: () => true },
    responseTypes: ['code'],
    ttl: { IdToken: state.id_token_seconds, AccessToken: 300, AuthorizationCode: 60 },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    renderError: (ctx, out) => { ctx.type = 'json'; ctx.body = out; },
    findAccount: async (ctx, sub) => ({
      accountId: sub,
      claims: () => ({ sub, ...state.accounts.get(sub) }),
    }),
    // Consent is given beforehand: the person's part here is to sign in.
    loadExistingGrant: async (ctx) => {
      const { client, session, provider } = ctx.oidc;
      const grant = new provider.Grant({
        clientId: client.clientId, accountId: session.accountId,
      });
      grant.addOIDCScope('openid email profile');
      await grant.save();
      return grant;
    },
  };
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

// The same request with another body, for the provider to read.
function again(request, text) {
  const copy = Readable.from([Buffer.from(text)]);
  const headers = { ...request.headers, 'content-length': String(Buffer.byteLength(text)) };
  return Object.assign(copy, {
    headers, method: request.method, url: request.url, socket: request.socket,
    httpVersion: request.httpVersion, connection: request.socket,
  });
}

async function interact(state, request, response) {
  let person = state.person;
  if (request.method === 'POST') {
    const form = new URLSearchParams(await body(request));
    const name = form.get('account');
    person = { sub: name, claims: { email: name, email_verified: true, name: name.split('@')[0] } };
  }
  if (!person) {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end('<!doctype html><html lang="en"><title>Provider</title><h1>Sign in at the '
      + 'provider</h1><form method="post"><label>Account <input name="account" required></label>'
      + '<button>Continue</button></form></html>');
    return;
  }
  if (person.deny) {
    await state.provider.interactionFinished(request, response, {
      error: 'access_denied', error_description: person.deny,
    });
    return;
  }
  state.accounts.set(person.sub, person.claims ?? {});
  const login = { accountId: person.sub, remember: true };
  if (person.signed_in_at) login.ts = person.signed_in_at;
  await state.provider.interactionFinished(request, response, { login });
}

// Lets the provider answer, and changes what it says.
function overwrite(response, change) {
  const { end } = response;
  response.end = (text) => {
    change(JSON.parse(String(text))).then((changed) => {
      const told = JSON.stringify(changed);
      response.setHeader('Content-Length', Buffer.byteLength(told));
      end.call(response, told);
    });
  };
}

async function signedAnew(state, told) {
  if (!told.id_token) return told;
  const claims = { ...decodeJwt(told.id_token), ...state.tamper.id_token };
  const { alg, kid } = state.key;
  const key = await importJWK(state.key, alg);
  const id_token = await new SignJWT(claims).setProtectedHeader({ alg, kid }).sign(key);
  return { ...told, id_token };
}

async function serve(state, request, response) {
  const { pathname } = new URL(request.url, state.issuer);
  const { tamper, late } = state;
  state.asked.push(`${request.method} ${pathname}`);
  if (late && pathname === late.path) await new Promise((done) => { setTimeout(done, late.ms); });
  if (pathname.startsWith('/interaction/')) return interact(state, request, response);
  const merged = (changes) => async (told) => ({ ...told, ...changes });
  if (pathname === '/.well-known/openid-configuration') {
    overwrite(response, merged(tamper.discovery));
  }
  if (pathname === '/me') overwrite(response, merged(tamper.userinfo));
  if (pathname !== '/token') return state.callback(request, response);
  const form = new URLSearchParams(await body(request));
  if (tamper.spend_codes) {
    await fetch(new URL('/token', state.issuer), {
      method: 'POST', body: form.toString(),
      headers: {
        authorization: request.headers.authorization ?? '',
        'content-type': 'application/x-www-form-urlencoded',
        'x-thief': '1',
      },
    });
  }
  if (tamper.id_token) overwrite(response, (told) => signedAnew(state, told));
  Object.entries(tamper.token ?? {}).forEach(([name, value]) => form.set(name, value));
  return state.callback(again(request, form.toString()), response);
}

async function open(wanted) {
  const id = `issuer${issuers.size + 1}`;
  const state = {
    id, clients: [], algorithm: 'ES256', claims_in: 'id_token', id_token_seconds: 300, person: null, tamper: {},
    late: null, accounts: new Map(), asked: [], ...wanted,
  };
  state.key = signingKey(state);
  state.server = createServer((request, response) => {
    const thief = request.headers['x-thief'] ? { ...state, tamper: {} } : state;
    serve(thief, request, response).catch((error) => {
      response.statusCode = 500;
      response.end(String(error.stack));
    });
  });
  await new Promise((done) => { state.server.listen(0, HOST, done); });
  state.issuer = `http://${HOST}:${state.server.address().port}`;
  state.provider = new Provider(state.issuer, configuration(state));
  state.callback = state.provider.callback();
  issuers.set(id, state);
  return state;
}

async function control(request, response) {
  const [, , id] = request.url.split('/');
  let state = issuers.get(id);
  if (request.method === 'POST') state = await open(JSON.parse(await body(request)));
  if (request.method === 'PATCH') Object.assign(state, JSON.parse(await body(request)));
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify({ id: state.id, issuer: state.issuer, asked: state.asked }));
}

const server = createServer((request, response) => {
  control(request, response).catch((error) => {
    response.statusCode = 500;
    response.end(String(error.stack));
  });
});
server.listen(0, HOST, () => { console.log(server.address().port); });
process.stdin.on('end', () => process.exit(0)).resume();
