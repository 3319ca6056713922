// The clients that people use, unchanged, against the real server: openai, @ai-sdk/xai, @ai-sdk/openai-compatible.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { createXai } from '@ai-sdk/xai';
import { APICallError, generateText, streamText } from 'ai';
import OpenAI, { APIError, AuthenticationError, BadRequestError, NotFoundError } from 'openai';
import { townPosts } from './posts.mjs';
import { modelPath, Server, skipWithoutModel } from './server.mjs';

const GUST = 'How strong was the strongest gust at the north mole in Varnholm harbour?';
const asked = [{ role: 'user', content: GUST }];
const posts = townPosts();
const urls = new Set(posts.map((post) => post.url));

let server;
before(async () => {
  server = await Server.start();
  await server.post(posts);
});
after(() => server?.stop());

const openai = (options = {}) => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0, ...options });

/// Cited addresses are those of posts, each once, and the text has a mark for each.
function expectCited(text, citations) {
  assert.match(text, /\[1\]/);
  assert.ok(Array.isArray(citations) && citations.length > 0, 'citations');
  assert.equal(new Set(citations).size, citations.length);
  for (const url of citations) assert.ok(urls.has(url), `${url} is a post's`);
  assert.match(text, /98 km\/h/);
}

/// OpenAI's rule for the usage object: every number there, and adding up.
function expectUsage(usage) {
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert.ok(usage.num_sources_used > 0);
}

describe('openai', () => {
  test('models: list, retrieve, unknown', async () => {
    const ids = (await openai().models.list()).data.map((model) => model.id);
    assert.ok(ids.includes('fathom') && ids.includes('fathom-extract'), ids.join());
    assert.equal((await openai().models.retrieve('fathom')).object, 'model');
    await assert.rejects(openai().models.retrieve('nope'), (error) => error instanceof NotFoundError && error.code === 'model_not_found' && Boolean(error.requestID));
  });

  test('a whole answer', async () => {
    const answer = await openai().chat.completions.create({ model: 'fathom-extract', messages: asked });
    assert.equal(answer.object, 'chat.completion');
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.equal(answer.choices[0].message.role, 'assistant');
    expectCited(answer.choices[0].message.content, answer.citations);
    expectUsage(answer.usage);
    for (const { type, url_citation: cited } of answer.choices[0].message.annotations) {
      assert.equal(type, 'url_citation');
      assert.ok(urls.has(cited.url));
      assert.match([...answer.choices[0].message.content].slice(cited.start_index, cited.end_index).join(''), /^\[\d+\]$/);
    }
  });

  test('each citation carries the words that support it', async () => {
    const answer = await openai().chat.completions.create({ model: 'fathom-extract', messages: asked });
    const text = [...answer.choices[0].message.content];
    for (const citation of answer.fathom.citations) {
      const post = posts.find((one) => one.url === citation.url);
      assert.equal(citation.text, post.text);
      assert.equal(citation.passage, [...post.text].slice(citation.passage_begin, citation.passage_end).join(''));
      assert.ok(citation.passage.length > 0);
      assert.equal(text.slice(citation.begin, citation.end).join(''), `[${citation.number}]`);
      assert.ok(citation.claim_begin < citation.begin && citation.claim_begin < citation.claim_end && citation.claim_end <= text.length);
    }
  });

  test('a streamed answer is the same, in the order that clients need', async () => {
    const whole = await openai().chat.completions.create({ model: 'fathom-extract', messages: asked });
    const chunks = [];
    for await (const chunk of await openai().chat.completions.create({ model: 'fathom-extract', messages: asked, stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), whole.choices[0].message.content);
    const last = chunks.at(-1);
    assert.deepEqual(last.choices, []);
    expectUsage(last.usage);
    assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
    const finished = chunks.filter((chunk) => chunk.choices[0]?.finish_reason);
    assert.equal(finished.length, 1);
    assert.deepEqual(finished[0].citations, whole.citations);
  });

  test('the stream helper accepts it', async () => {
    const stream = openai().chat.completions.stream({ model: 'fathom-extract', messages: asked });
    let text = '';
    stream.on('content', (delta) => { text += delta; });
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0].message.content, text);
    assert.equal(final.choices[0].finish_reason, 'stop');
  });

  test('search_parameters are obeyed', async () => {
    const search = (search_parameters) => openai().chat.completions.create({ model: 'fathom-extract', messages: asked, search_parameters });
    expectCited((await search({ mode: 'on' })).choices[0].message.content, (await search({ mode: 'on' })).citations);
    const one = await search({ mode: 'on', sources: [{ type: 'x', included_x_handles: ['coastguard_north'] }] });
    assert.deepEqual(new Set(one.fathom.citations.map((citation) => citation.author.handle)), new Set(['coastguard_north']));
    const without = await search({ mode: 'on', sources: [{ type: 'x', excluded_x_handles: ['coastguard_north'] }] });
    assert.ok(without.fathom.citations.every((citation) => citation.author.handle !== 'coastguard_north'));
    const later = await search({ mode: 'on', from_date: '2999-01-01' });
    assert.deepEqual(later.citations, [], 'nothing was posted then');
    const silent = await search({ mode: 'on', return_citations: false });
    assert.equal(silent.citations, undefined);
    await assert.rejects(search({ mode: 'sometimes' }), (error) => error instanceof BadRequestError && error.param === 'search_parameters.mode');
    await assert.rejects(search({ mode: 'on', max_search_results: 0 }), (error) => error instanceof BadRequestError && error.param === 'search_parameters.max_search_results');
  });

  test('a follow-up is understood from the conversation', async () => {
    const first = await openai().chat.completions.create({ model: 'fathom-extract', messages: [{ role: 'user', content: 'What do we know about power in East Varnholm?' }] });
    const answer = await openai().chat.completions.create({ model: 'fathom-extract', messages: [
      { role: 'user', content: 'What do we know about power in East Varnholm?' },
      { role: 'assistant', content: first.choices[0].message.content },
      { role: 'user', content: 'How many homes have it back?' }] });
    assert.match(answer.choices[0].message.content, /5,100|3,200/);
  });

  test('errors are the classes that the client documents', async () => {
    const ask = (body, options) => openai(options).chat.completions.create({ model: 'fathom-extract', messages: asked, ...body });
    await assert.rejects(ask({ model: 'nope' }), (error) => error instanceof NotFoundError && error.code === 'model_not_found' && error.param === 'model' && Boolean(error.requestID));
    await assert.rejects(ask({ messages: [] }), (error) => error instanceof BadRequestError && error.param === 'messages' && error.type === 'invalid_request_error');
    await assert.rejects(ask({ temperature: 9 }), (error) => error instanceof BadRequestError && error.param === 'temperature');
    await assert.rejects(ask({ n: 2 }), BadRequestError);
    await assert.rejects(openai({ baseURL: 'http://127.0.0.1:9/v1' }).models.list(), (error) => error instanceof APIError && error.status === undefined);
  });

  test('a key is asked for and checked', async () => {
    const locked = await Server.start({ env: { FATHOM_API_KEY: 'right' } });
    try {
      const client = (apiKey) => new OpenAI({ baseURL: `${locked.url}/v1`, apiKey, maxRetries: 0 });
      await assert.rejects(client('wrong').models.list(), (error) => error instanceof AuthenticationError && error.code === 'invalid_api_key');
      assert.ok((await client('right').models.list()).data.length > 0);
      assert.equal((await fetch(`${locked.url}/healthz`)).status, 200, 'watchdogs need no key');
      assert.equal((await fetch(`${locked.url}/`)).status, 200, 'the page needs no key');
      assert.equal((await fetch(`${locked.url}/v1/feed`)).status, 401);
    } finally {
      await locked.stop();
    }
  });

  test('the language model alone, streamed and whole, the same with the same seed', { skip: skipWithoutModel }, async () => {
    const writer = await Server.start({ model: modelPath });
    try {
      const client = new OpenAI({ baseURL: `${writer.url}/v1`, apiKey: 'any', maxRetries: 0 });
      const model = (await client.models.list()).data.map(({ id }) => id).find((id) => !id.startsWith('fathom'));
      assert.ok(model, 'the model is listed under its own name');
      const body = { model, messages: [{ role: 'user', content: 'Name three colours.' }], max_tokens: 24, seed: 7, temperature: 0.8 };
      const whole = await client.chat.completions.create(body);
      assert.ok(whole.choices[0].message.content.length > 0);
      assert.ok(whole.usage.completion_tokens > 0 && whole.usage.completion_tokens <= 24);
      let text = '';
      for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) text += chunk.choices[0]?.delta.content ?? '';
      assert.equal(text, whole.choices[0].message.content);
      const cut = await client.chat.completions.create({ ...body, max_tokens: 2 });
      assert.equal(cut.choices[0].finish_reason, 'length');
      await writer.post(posts);
      const grounded = await client.chat.completions.create({ model: 'fathom', messages: asked });
      expectCited(grounded.choices[0].message.content, grounded.citations);
    } finally {
      await writer.stop();
    }
  });
});

describe('@ai-sdk/xai', () => {
  const xai = () => createXai({ baseURL: `${server.url}/v1`, apiKey: 'any' });
  const providerOptions = { xai: { searchParameters: { mode: 'on', returnCitations: true, maxSearchResults: 10, sources: [{ type: 'x' }] } } };
  const sourceUrls = (sources) => new Set(sources.map((source) => source.url));

  test('generateText with Live Search gives the sources', async () => {
    const { text, sources, usage } = await generateText({ model: xai()('fathom-extract'), prompt: GUST, providerOptions, maxRetries: 0 });
    expectCited(text, [...sourceUrls(sources)]);
    assert.ok(usage);
  });

  test('streamText gives the same text and sources', async () => {
    const whole = await generateText({ model: xai()('fathom-extract'), prompt: GUST, providerOptions, maxRetries: 0 });
    const stream = streamText({ model: xai()('fathom-extract'), prompt: GUST, providerOptions, maxRetries: 0 });
    assert.equal(await stream.text, whole.text);
    assert.deepEqual(sourceUrls(await stream.sources), sourceUrls(whole.sources));
  });

  test('handles and dates arrive', async () => {
    const options = { xai: { searchParameters: { mode: 'on', fromDate: '2020-01-01', sources: [{ type: 'x', includedXHandles: ['coastguard_north'] }] } } };
    const { sources } = await generateText({ model: xai()('fathom-extract'), prompt: GUST, providerOptions: options, maxRetries: 0 });
    assert.ok(sources.length > 0 && sources.every((source) => source.url.includes('/coastguard_north/')));
  });

  test('an error is an APICallError with the server\'s sentence', async () => {
    await assert.rejects(generateText({ model: xai()('nope'), prompt: GUST, maxRetries: 0 }),
      (error) => APICallError.isInstance(error) && error.statusCode === 404 && /nope/.test(error.message));
  });
});

describe('responses from the feed', () => {
  const links = (text) => [...text.matchAll(/\[\[\d+\]\]\((https?:[^)]+)\)/g)].map((match) => match[1]);
  const search = [{ type: 'x_search' }];

  test('openai: inline links, annotations and the searches', async () => {
    const response = await openai().responses.create({ model: 'fathom-extract', input: GUST, tools: search });
    assert.equal(response.status, 'completed');
    assert.ok(response.output.some((item) => item.type === 'x_search_call'));
    const part = response.output.at(-1).content[0];
    assert.match(response.output_text, /98 km\/h/);
    assert.ok(links(part.text).length > 0);
    for (const annotation of part.annotations) {
      assert.ok(urls.has(annotation.url));
      const link = [...part.text].slice(annotation.start_index, annotation.end_index).join('');
      assert.match(link, /^\[\[\d+\]\]\(.*\)$/);
      assert.ok(link.includes(annotation.url));
    }
    assert.ok(response.usage.input_tokens_details && response.usage.output_tokens_details);
  });

  test('openai: the stream helper takes it, and it is the same', async () => {
    const whole = await openai().responses.create({ model: 'fathom-extract', input: GUST, tools: search });
    const stream = openai().responses.stream({ model: 'fathom-extract', input: GUST, tools: search });
    let text = '';
    stream.on('response.output_text.delta', (event) => { text += event.delta; });
    const final = await stream.finalResponse();
    assert.equal(text, whole.output_text);
    assert.equal(final.output_text, whole.output_text);
    assert.deepEqual(final.output.at(-1).content[0].annotations, whole.output.at(-1).content[0].annotations);
  });

  test('openai: stored, gone on from, deleted', async () => {
    const first = await openai().responses.create({ model: 'fathom-extract', input: 'What do we know about power in East Varnholm?' });
    const second = await openai().responses.create({ model: 'fathom-extract', input: 'How many homes have it back?', previous_response_id: first.id });
    assert.match(second.output_text, /5,100|3,200/);
    assert.equal((await openai().responses.retrieve(first.id)).output[0].content[0].text, first.output[0].content[0].text);
    assert.equal((await openai().responses.inputItems.list(first.id)).data.length, 1);
    await openai().responses.delete(first.id);
    await assert.rejects(openai().responses.retrieve(first.id), NotFoundError);
  });

  test('@ai-sdk/xai: x_search gives sources, whole and streamed', async () => {
    const xai = createXai({ baseURL: `${server.url}/v1`, apiKey: 'any' });
    const ask = { model: xai.responses('fathom-extract'), prompt: GUST, maxRetries: 0, tools: { x_search: xai.tools.xSearch({ allowedXHandles: ['coastguard_north'] }) } };
    const whole = await generateText(ask);
    assert.match(whole.text, /98 km\/h/);
    const found = new Set(whole.sources.map((source) => source.url));
    assert.ok(found.size > 0 && [...found].every((url) => url.includes('/coastguard_north/')));
    const stream = streamText(ask);
    assert.equal(await stream.text, whole.text);
    assert.deepEqual(new Set((await stream.sources).map((source) => source.url)), found);
  });

  test('what the feed cannot do is refused by name', async () => {
    const ask = (extra) => openai().responses.create({ model: 'fathom-extract', input: GUST, ...extra });
    const refused = (param) => (error) => error instanceof BadRequestError && error.param === param && error.code === 'unsupported';
    await assert.rejects(ask({ tools: [{ type: 'function', name: 'f', parameters: { type: 'object' } }] }), refused('tools'));
    await assert.rejects(ask({ text: { format: { type: 'json_object' } } }), refused('text.format'));
    await assert.rejects(ask({ tools: [{ type: 'code_interpreter', container: { type: 'auto' } }] }), refused('tools[0].type'));
  });
});

describe('@ai-sdk/openai-compatible', () => {
  const model = () => createOpenAICompatible({ name: 'fathom', baseURL: `${server.url}/v1`, apiKey: 'any' })('fathom-extract');

  test('generateText and streamText agree', async () => {
    const whole = await generateText({ model: model(), prompt: GUST, maxRetries: 0 });
    assert.match(whole.text, /98 km\/h.*\[1\]/s);
    assert.equal(whole.finishReason, 'stop');
    const stream = streamText({ model: model(), prompt: GUST, maxRetries: 0 });
    assert.equal(await stream.text, whole.text);
  });
});
