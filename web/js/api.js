// The server's API as the page uses it. Every failure becomes an ApiError that says what happened and what to do.

import { readEvents } from './sse.js';

const KEY = 'fathom.key';

export class ApiError extends Error {
  /// kind: 'network' (no answer), 'http' (an error status), 'stream' (broke off or reported an error midway).
  constructor(kind, message, { status = 0, code = null, requestId = null, retryAfter = null } = {}) {
    super(message);
    this.name = 'ApiError';
    Object.assign(this, { kind, status, code, requestId, retryAfter });
  }

  get advice() {
    if (this.kind === 'network') return 'Is fathom serve still running? The page asks again by itself.';
    if (this.kind === 'stream') return 'What was written so far stands above. Ask again for the whole answer.';
    if (this.status === 401) return 'Give a key that the server accepts.';
    if (this.status === 403) return 'Another key, with a role that may do this, is needed.';
    if (this.status === 429) {
      return this.retryAfter ? `Too much at once. Ask again in ${this.retryAfter} s.` : 'Too much at once. Ask again in a moment.';
    }
    if (this.status >= 500) return 'The server failed. Its log has the reason. Ask again, or quote the request number there.';
    return 'Change the question or the writer, then ask again.';
  }
}

export function setKey(key) {
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    memoryKey = key;
  }
}

let memoryKey = '';

function headers(extra = {}) {
  let key = memoryKey;
  try {
    key = sessionStorage.getItem(KEY) || key;
  } catch {
    // Without storage the key lives in this page only.
  }
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers), cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('network', 'The server does not answer.');
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  const details = {
    status: response.status,
    requestId: response.headers.get('x-request-id'),
    retryAfter: response.headers.get('retry-after'),
  };
  let message = '';
  try {
    const { error } = await response.json();
    message = typeof error === 'string' ? error : error?.message ?? '';
    details.code = error?.code ?? null;
  } catch {
    // Not JSON: a proxy's page, perhaps. The status has to do.
  }
  return new ApiError('http', message || `The server answered with status ${response.status}.`, details);
}

export async function getJson(path, signal) {
  const response = await request(path, { signal });
  try {
    return await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('stream', 'The answer of the server broke off.');
  }
}

export async function postJson(path, body, signal) {
  const sent = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal };
  return (await request(path, sent)).json();
}

export async function getBlob(path) {
  return (await request(path)).blob();
}

export async function remove(path) {
  await request(path, { method: 'DELETE' });
}

/// POST /v1/chat/completions: yields each chunk. Throws ApiError when the stream breaks off before its end.
export async function* streamAnswer(body, signal) {
  const response = await request('/v1/chat/completions', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream' },
    body: JSON.stringify({ model: 'fathom', stream: true, ...body }),
    signal,
  });
  try {
    for await (const event of readEvents(response.body)) {
      if (event.data === '[DONE]') return;
      const chunk = JSON.parse(event.data);
      if (chunk.error) {
        throw new ApiError('stream', chunk.error.message ?? String(chunk.error), { code: chunk.error.code ?? null });
      }
      yield chunk;
    }
  } catch (error) {
    if (error.name === 'AbortError' || error instanceof ApiError) throw error;
    throw new ApiError('stream', 'The connection to the server broke off.');
  }
  throw new ApiError('stream', 'The server ended the answer before its end.');
}

/// GET /v1/feed: calls `onOpen` once connected and yields {event, id, data} with event post, delete or clock. Begins after
/// `lastId`, or with the newest `backlog` posts; only those of `source` and `lang` where they are given. Returns when the server ends it.
export async function* followFeed(lastId, { backlog, source, lang }, signal, onOpen) {
  const extra = { Accept: 'text/event-stream' };
  if (lastId) extra['Last-Event-ID'] = lastId;
  const query = new URLSearchParams({ backlog: String(backlog), ...(source ? { source } : {}), ...(lang ? { lang } : {}) });
  const response = await request(`/v1/feed?${query}`, { headers: extra, signal });
  onOpen();
  for await (const event of readEvents(response.body)) {
    yield { ...event, data: JSON.parse(event.data) };
  }
}
