// Requests to the service that this page comes from. The token is in this module's memory only: a reload forgets it.

const ROOT = new URL("../../", import.meta.url); // …/api/, under any stage's prefix
const PATIENCE_MILLISECONDS = 35_000; // longer than the gateway's 29 s

let token = null;
let tokenRefused = () => {};

// Something that the service refused, or that failed. `status` is 0 if no answer came.
export class Refusal extends Error {
  constructor(status, code, message, details = {}, requestId = null) {
    super(message);
    Object.assign(this, { status, code, details, requestId });
  }
}

// Use a pasted token, possibly broken into lines by a terminal. Throws Refusal if no header can carry it.
export function signIn(pasted) {
  const text = pasted.trim().replace(/^Bearer\s+/i, "").replace(/\s+/g, "");
  if (!/^[!-~]+$/.test(text)) throw new Refusal(0, "NO_TOKEN", "This is not a token: it contains characters that no token has.");
  token = text;
}

export function signOut() {
  token = null;
}

// Call `listener` with the refusal when the service no longer accepts the token.
export function onTokenRefused(listener) {
  tokenRefused = listener;
}

// A path with its values encoded: path`users/${id}`. Throws for a value that would name another route.
export function path(texts, ...values) {
  return String.raw({ raw: texts }, ...values.map(encoded));
}

// A value with a slash is encoded twice, because gateways treat %2F as a separator.
function encoded(value) {
  if (["", ".", ".."].includes(value)) throw new Refusal(0, "NO_SUCH_ID", `An id cannot be “${value}”.`);
  return encodeURIComponent(value.includes("/") ? encodeURIComponent(value) : value);
}

// A new idempotency key. A command takes one when its dialog opens, so that a double click is one command.
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Send a request below /api/ and return { data, requestId, nextCursor, replayed }. Throws Refusal.
// `query` leaves out values that are null, undefined or empty. `idempotent` is a key from newKey.
export async function request(method, path, { query = {}, body, idempotent } = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  const headers = { Accept: "application/json" };
  const sent = token;
  if (sent) headers.Authorization = `Bearer ${sent}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (idempotent) headers["Idempotency-Key"] = idempotent;
  try {
    return await read(await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE_MILLISECONDS),
    }));
  } catch (error) {
    if (!(error instanceof Refusal)) throw new Refusal(0, "NO_ANSWER", noAnswer(error));
    if (error.status === 401 && sent && sent === token) tokenRefused(error);
    throw error;
  }
}

async function read(answer) {
  const text = await answer.text();
  const data = parsed(text);
  const requestId = data?.requestId ?? answer.headers.get("x-amzn-requestid");
  if (!answer.ok) {
    const message = data?.message ?? (text || `The service answered ${answer.status}.`);
    throw new Refusal(answer.status, data?.code ?? `HTTP_${answer.status}`, message, data?.details, requestId);
  }
  if (data === null) throw new Refusal(answer.status, "NO_JSON", "The answer is not JSON.", {}, requestId);
  return {
    data,
    requestId,
    nextCursor: data?.nextCursor ?? answer.headers.get("x-next-cursor"),
    replayed: answer.headers.get("idempotency-replayed") === "true",
  };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function noAnswer(error) {
  if (error.name === "TimeoutError") return "The service did not answer in time. The request may still have had an effect.";
  return "The service cannot be reached. If this was a command, it may still have had an effect.";
}
