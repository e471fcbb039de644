// The client's side of an exchange over HTTP. The specifications are CARRIERS.md and
// exchange/PROTOCOL.md in verify/challenge. An operation (op) is a plan in plan.go.

const text = new TextEncoder();
const kinds = { request4: 0, request6: 1, connection: 2, response: 3 };
const nonceSize = 20, macSize = 20, portSize = 18, exchangeSize = 7;

function join(...parts) {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  parts.reduce((at, p) => (all.set(p, at), at + p.length), 0);
  return all;
}

function fromHex(s) {
  return Uint8Array.from(s.match(/../g) || [], (h) => parseInt(h, 16));
}

function toBase64(b) {
  return btoa(String.fromCharCode(...b)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
}

function fromBase64(s) {
  const b = atob(s.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(b, (c) => c.charCodeAt(0));
}

// unlock decrypts the plan of a page. It returns null if the passphrase is wrong.
async function unlock(passphrase, page) {
  // People type spaces and capitals, and letters that the alphabet does not have.
  const typed = passphrase.toLowerCase().replace(/[\s-]/g, "").replace(/o/g, "0").replace(/[il]/g, "1");
  const password = await crypto.subtle.importKey("raw", text.encode(typed), "PBKDF2", false, ["deriveKey"]);
  const key = await crypto.subtle.deriveKey(
    { name: "PBKDF2", hash: "SHA-256", salt: fromBase64(page.salt), iterations: Number(page.rounds) },
    password, { name: "AES-GCM", length: 256 }, false, ["decrypt"]);
  try {
    // The key is of this page only, so the nonce may be the same in all.
    const plain = await crypto.subtle.decrypt({
      name: "AES-GCM", iv: new Uint8Array(12), additionalData: text.encode("sallyport page 1, " + page.server),
    }, key, fromBase64(page.sealed));
    return JSON.parse(new TextDecoder().decode(plain));
  } catch {
    return null;
  }
}

// deriveKey returns the key of an operation for a purpose.
async function deriveKey(op, purpose) {
  const secret = await crypto.subtle.importKey("raw", text.encode(op.secret), "HKDF", false, ["deriveBits"]);
  const info = text.encode(`sallyport challenge-response 1, algorithm ${op.algorithm}, ${purpose}, ${op.id}`);
  return crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info }, secret, 256);
}

async function hmac(rawKey, data) {
  const key = await crypto.subtle.importKey("raw", rawKey, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, data));
}

// mapped is an address in a MAC: an IPv4 address in its IPv4-mapped form.
function mapped(a) {
  return a.length === 4 ? join(new Uint8Array(10), [255, 255], a) : a;
}

// mac is the MAC of fields.
async function mac(op, purpose, ...fields) {
  return (await hmac(await deriveKey(op, purpose), join(...fields.map(mapped)))).slice(0, macSize);
}

function equal(a, b) {
  return a.length === b.length && a.reduce((d, v, i) => d | (v ^ b[i]), 0) === 0;
}

// begin makes an exchange of a kind, of random numbers. For an address, ID_A is zero: a
// page does not know its own.
function begin(op, kind, random = (n) => crypto.getRandomValues(new Uint8Array(n))) {
  const x = random(exchangeSize);
  let self = new Uint8Array(kind === kinds.request4 ? 4 : 16);
  if (kind === kinds.connection) self = join([1], new Uint8Array(8), x);
  const server = fromHex([op.server4, op.server6, op.serverConnection][kind]);
  return { op, kind, x, self, server, nonce: random(nonceSize) };
}

// requestOf is the body of a POST with the request at a time, in ms since 1970.
async function requestOf(e, now) {
  const rest = { 1: [], 2: e.self, 3: e.nonce }[e.op.algorithm];
  const message = join(text.encode(e.op.id), rest);
  if (!e.op.hop) return formOf(e, e.kind, message);
  const mask = await maskOf(fromHex(e.op.hop), Math.floor(now / 60000));
  return formOf(e, e.kind, message.map((b, i) => b ^ mask[i]));
}

// maskOf is the mask of a minute's requests, if requests age.
async function maskOf(key, minute) {
  const block = (i) => {
    const b = new DataView(new ArrayBuffer(12));
    b.setUint32(0, Math.floor(minute / 2 ** 32));
    b.setUint32(4, minute % 2 ** 32);
    b.setUint32(8, i);
    return hmac(key, b.buffer);
  };
  return join(await block(0), await block(1));
}

// formOf is the body of a POST with a message.
function formOf(e, kind, message) {
  return "q=" + toBase64(join([kind << 6], e.x, message));
}

// pathOf is the path of a GET with the message of such a body.
function pathOf(form) {
  const decimal = (b) => b.reduce((n, v) => n * 256n + BigInt(v), 0n).toString();
  const all = fromBase64(form.slice(2)), message = all.slice(1 + exchangeSize), numbers = [];
  for (let at = 0; at < message.length; at += 6) {
    const data = join(message.slice(at, at + 6), new Uint8Array(6)).slice(0, 6);
    numbers.push(decimal(join([all[0] | at / 6, message.length], data)));
  }
  return `/${decimal(all.slice(1, 1 + exchangeSize))}/${numbers.join("/")}.html`;
}

// challengeOf returns the challenge in the server's answer, or null. The answer is
// never made HTML of this page.
function challengeOf(answer) {
  const m = /^<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Continue<\/title><\/head><body><form method="post"><input type="hidden" name="q" value="([A-Za-z0-9_-]{1,252})"><button>Continue<\/button><\/form><\/body><\/html>\n$/.exec(answer);
  return m && m[1].length % 4 !== 1 ? fromBase64(m[1]) : null;
}

// respond returns the response to a challenge, the client's address as the server sees
// it, and the port, if the challenge has one; null if the challenge is not authentic.
async function respond(e, challenge) {
  const { op } = e, address = e.self.length;
  const size = nonceSize + (op.algorithm > 1 ? address + macSize : 0) + (op.random ? portSize : 0);
  if (challenge.length !== size) return null;
  let at = 0;
  const take = (n) => challenge.slice(at, at += n);
  let client = e.self;
  if (op.algorithm > 1) {
    client = take(address);
    const fields = op.algorithm === 2 ? [client, e.self] : [e.nonce, e.server, client];
    if (!equal(take(macSize), await mac(op, "challenge", ...fields))) return null;
  }
  const nonce = take(nonceSize);
  let port = op.port || 0;
  if (op.random && !(port = await openPort(e, take(portSize), nonce, client))) return null;
  const response = await mac(op, "response", nonce, client, e.server);
  return { form: formOf(e, kinds.response, response), client, port };
}

// openPort decrypts the port of a challenge; 0: it is not authentic.
async function openPort(e, sealed, nonce, client) {
  const raw = await hmac(await deriveKey(e.op, "port"), nonce);
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["decrypt"]);
  try {
    const plain = new Uint8Array(await crypto.subtle.decrypt({
      name: "AES-GCM", iv: new Uint8Array(12), additionalData: join(nonce, mapped(client), mapped(e.server)),
    }, key, sealed));
    return plain.length === 2 ? plain[0] << 8 | plain[1] : 0;
  } catch {
    return 0;
  }
}

// addressText writes an address for people.
function addressText(a) {
  if (a.length === 4) return a.join(".");
  const groups = [];
  for (let i = 0; i < 16; i += 2) groups.push((a[i] << 8 | a[i + 1]).toString(16));
  const all = groups.join(":");
  const zeros = (all.match(/\b0(:0)+\b/g) || []).sort((p, q) => q.length - p.length)[0];
  if (!zeros) return all;
  const at = all.search(new RegExp(`\\b${zeros}\\b`));
  return all.slice(0, at).replace(/:$/, "") + "::" + all.slice(at + zeros.length).replace(/^:/, "");
}
