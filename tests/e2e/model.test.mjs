// The clients that people use against a real language model and a real embedding model: choices, formats, tools, responses,
// embeddings; and what happens to others when a client is slow, gone, or one too many.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { createXai } from '@ai-sdk/xai';
import { embed, generateObject, generateText, jsonSchema, streamText, tool } from 'ai';
import OpenAI, { BadRequestError, RateLimitError } from 'openai';
import { embedderPath, modelPath, Server, skipWithoutEmbedder, skipWithoutModel } from './server.mjs';

const COLOURS = [{ role: 'user', content: 'Name three colours.' }];
/// SmolLM2's ends of text and turn never come: the answer is as long as asked for.
const ENDLESS = { 0: -100, 2: -100 };
const PERSON = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 20 }, age: { type: 'integer', minimum: 0, maximum: 120 }, eyes: { enum: ['blue', 'brown'] } },
  required: ['name', 'age', 'eyes'],
  additionalProperties: false,
};
const WEATHER = { name: 'weather', description: 'The weather of a city', parameters: { type: 'object', properties: { city: { type: 'string', maxLength: 20 } }, required: ['city'], additionalProperties: false } };

/// What the schema allows, checked without its help.
function expectPerson(person) {
  assert.deepEqual(Object.keys(person), ['name', 'age', 'eyes']);
  assert.equal(typeof person.name, 'string');
  assert.ok(Number.isInteger(person.age) && person.age >= 0 && person.age <= 120);
  assert.ok(['blue', 'brown'].includes(person.eyes));
}

describe('a real model', { skip: skipWithoutModel }, () => {
  let server;
  let model;
  let client;
  before(async () => {
    server = await Server.start({ model: modelPath, embedding: embedderPath ?? 'none' });
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0 });
    model = (await server.json('/v1/status')).model.name;
  });
  after(() => server?.stop());

  const chat = (extra, options) => client.chat.completions.create({ model, messages: COLOURS, max_tokens: 16, temperature: 0, ...extra }, options);

  describe('openai', () => {
    test('several choices, seeds and usage', async () => {
      const body = { n: 3, temperature: 0.9, seed: 11 };
      const answer = await chat(body);
      assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2]);
      assert.ok(answer.usage.completion_tokens <= 48);
      assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
      const single = await chat({ ...body, n: 1 });
      assert.equal(single.choices[0].message.content, answer.choices[0].message.content, 'the first choice is that of n = 1');
      assert.ok(single.usage.prompt_tokens_details.cached_tokens > 0, 'the prompt was seen before');
    });

    test('log probabilities belong to the tokens', async () => {
      const { choices: [choice] } = await chat({ logprobs: true, top_logprobs: 3 });
      assert.equal(choice.logprobs.content.map((entry) => entry.token).join(''), choice.message.content);
      for (const entry of choice.logprobs.content) {
        assert.ok(entry.logprob <= 0 && entry.top_logprobs.length === 3);
        assert.ok(Math.abs(entry.top_logprobs[0].logprob - entry.logprob) < 1e-3, 'greedy takes the likeliest');
        assert.deepEqual(entry.bytes, [...Buffer.from(entry.token)]);
      }
    });

    test('a biased token does not come, stop ends the text', async () => {
      const plain = await chat({ logprobs: true });
      const first = plain.choices[0].logprobs.content[0].token;
      const { tokens: [id] } = await server.json('/tokenize', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ content: first }) });
      const biased = await chat({ logit_bias: { [id]: -100 }, max_tokens: 1 });
      assert.notEqual(biased.choices[0].message.content, first);
      const stop = plain.choices[0].message.content.slice(4, 9);
      assert.ok(!(await chat({ stop })).choices[0].message.content.includes(stop));
    });

    test('the stream helper, with log probabilities and usage', async () => {
      const whole = await chat({});
      const stream = client.chat.completions.stream({ model, messages: COLOURS, max_tokens: 16, temperature: 0, logprobs: true, stream_options: { include_usage: true } });
      const final = await stream.finalChatCompletion();
      assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
      assert.equal(final.choices[0].logprobs.content.length, final.usage.completion_tokens);
    });

    test('structured outputs follow their schema', async () => {
      const response_format = { type: 'json_schema', json_schema: { name: 'person', strict: true, schema: PERSON } };
      const messages = [{ role: 'user', content: 'Describe a person as JSON.' }];
      for (const seed of [1, 2]) {
        const answer = await chat({ messages, response_format, temperature: 1, seed, max_tokens: 100 });
        expectPerson(JSON.parse(answer.choices[0].message.content));
      }
      const object = await chat({ messages, response_format: { type: 'json_object' }, max_tokens: 200, temperature: 1, seed: 3 });
      if (object.choices[0].finish_reason === 'stop') assert.equal(typeof JSON.parse(object.choices[0].message.content), 'object');
      await assert.rejects(chat({ response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'thing' } } } }),
        (error) => error instanceof BadRequestError && error.param === 'response_format.json_schema.schema');
    });

    test('tools: required, named, streamed, run', async () => {
      const tools = [{ type: 'function', function: WEATHER }];
      const messages = [{ role: 'user', content: 'What is the weather in Bern?' }];
      const body = { messages, tools, tool_choice: 'required', max_tokens: 60, parallel_tool_calls: false };
      const { choices: [choice] } = await chat(body);
      assert.equal(choice.finish_reason, 'tool_calls');
      assert.equal(choice.message.tool_calls[0].function.name, 'weather');
      assert.equal(typeof JSON.parse(choice.message.tool_calls[0].function.arguments).city, 'string');

      const final = await client.chat.completions.stream({ model, temperature: 0, ...body }).finalChatCompletion();
      assert.deepEqual(JSON.parse(final.choices[0].message.tool_calls[0].function.arguments), JSON.parse(choice.message.tool_calls[0].function.arguments));

      const asked = [];
      const runner = client.chat.completions.runTools({
        model, messages, max_tokens: 60, temperature: 0,
        tools: [{ type: 'function', function: { ...WEATHER, parse: JSON.parse, function: ({ city }) => { asked.push(city); return 'sunny'; } } }],
        tool_choice: { type: 'function', function: { name: 'weather' } },
      });
      await runner.done();
      assert.equal(asked.length, 1);
      assert.equal(typeof asked[0], 'string');

      const after = await chat({ messages: [...messages, choice.message, { role: 'tool', tool_call_id: choice.message.tool_calls[0].id, content: '21 degrees, sunny' }], tools, tool_choice: 'none' });
      assert.ok(after.choices[0].message.content.length > 0);
    });

    test('completions: texts, tokens, echo, streams', async () => {
      const body = { model, prompt: 'The capital of France is', max_tokens: 5, temperature: 0 };
      const { choices: [choice], usage } = await client.completions.create({ ...body, logprobs: 2 });
      assert.equal(choice.logprobs.tokens.join(''), choice.text);
      assert.equal(usage.completion_tokens, 5);
      const both = await client.completions.create({ ...body, prompt: [body.prompt, 'One, two,'], n: 2 });
      assert.deepEqual(both.choices.map(({ index }) => index), [0, 1, 2, 3]);
      assert.equal(both.choices[0].text, choice.text);
      const echoed = await client.completions.create({ ...body, echo: true, max_tokens: 0, logprobs: 1 });
      assert.equal(echoed.choices[0].text, body.prompt);
      assert.ok(echoed.choices[0].logprobs.token_logprobs.slice(1).every((value) => value < 0));
      let text = '';
      for await (const chunk of await client.completions.create({ ...body, stream: true })) text += chunk.choices[0]?.text ?? '';
      assert.equal(text, choice.text);
    });

    test('responses: text, stream, format, functions, conversation', async () => {
      const ask = { model, input: 'Name three colours.', max_output_tokens: 16, temperature: 0 };
      const whole = await client.responses.create(ask);
      assert.equal(whole.status, 'incomplete');
      assert.equal(whole.incomplete_details.reason, 'max_output_tokens');
      const final = await client.responses.stream(ask).finalResponse();
      assert.equal(final.output_text, whole.output_text);
      const next = await client.responses.create({ ...ask, input: 'And two more?', previous_response_id: whole.id });
      assert.ok(next.usage.input_tokens > whole.usage.input_tokens);

      const person = await client.responses.create({ ...ask, max_output_tokens: 100, text: { format: { type: 'json_schema', name: 'person', schema: PERSON } } });
      expectPerson(JSON.parse(person.output_text));

      const stream = client.responses.stream({ ...ask, max_output_tokens: 60, tools: [{ type: 'function', strict: true, ...WEATHER }], tool_choice: 'required' });
      const called = (await stream.finalResponse()).output.find((item) => item.type === 'function_call');
      assert.equal(called.name, 'weather');
      assert.equal(typeof JSON.parse(called.arguments).city, 'string');
      const told = await client.responses.create({ ...ask, input: [{ role: 'user', content: 'Weather in Bern?' }, called, { type: 'function_call_output', call_id: called.call_id, output: 'sunny' }] });
      assert.ok(told.output_text.length > 0);
    });

    test('embeddings: the default of the client, close meanings close together', { skip: skipWithoutEmbedder }, async () => {
      const { id } = (await client.models.list()).data.find((entry) => entry.dimensions);
      const { data, usage } = await client.embeddings.create({ model: id, input: ['A cat sits on the mat.', 'A kitten rests on a rug.', 'Interest rates rose by half a percent.'] });
      const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
      const [cat, kitten, rates] = data.map(({ embedding }) => embedding);
      assert.equal(cat.length, 384);
      assert.ok(Math.abs(dot(cat, cat) - 1) < 1e-3);
      assert.ok(dot(cat, kitten) > dot(cat, rates) + 0.2);
      assert.ok(usage.prompt_tokens > 10);
      const short = await client.embeddings.create({ model: id, input: 'A cat sits on the mat.', dimensions: 64, encoding_format: 'float' });
      assert.equal(short.data[0].embedding.length, 64);
      assert.ok(Math.abs(dot(short.data[0].embedding, short.data[0].embedding) - 1) < 1e-3);
    });

    test('every field of the wrong type is named', async () => {
      const wrong = { messages: 'hi', temperature: 'hot', n: 0, top_p: 7, stop: [1], seed: 'x', logprobs: 1, top_logprobs: 99, logit_bias: [1], tools: 'f', tool_choice: 1,
        response_format: 'json', stream: 'yes', max_tokens: -1, max_completion_tokens: 'a', presence_penalty: 9, frequency_penalty: 'x', stream_options: 1, parallel_tool_calls: 'x' };
      for (const [field, value] of Object.entries(wrong)) {
        await assert.rejects(chat({ [field]: value }), (error) => error instanceof BadRequestError && error.param === field, field);
      }
      await assert.rejects(chat({ messages: [{ role: 'user', content: 'long '.repeat(20_000) }] }), (error) => error.code === 'context_length_exceeded');
    });
  });

  describe('@ai-sdk', () => {
    const compatible = () => createOpenAICompatible({ name: 'fathom', baseURL: `${server.url}/v1`, apiKey: 'any', supportsStructuredOutputs: true });

    test('openai-compatible: text, stream, object, embedding', async () => {
      const ask = { model: compatible()(model), prompt: 'Name three colours.', maxOutputTokens: 16, temperature: 0, maxRetries: 0 };
      const whole = await generateText(ask);
      assert.equal(await streamText(ask).text, whole.text);
      const { object } = await generateObject({ ...ask, maxOutputTokens: 100, schema: jsonSchema(PERSON), prompt: 'Describe a person.' });
      expectPerson(object);
      if (!embedderPath) return;
      const { id } = (await client.models.list()).data.find((entry) => entry.dimensions);
      const { embedding } = await embed({ model: compatible().textEmbeddingModel(id), value: 'A cat', maxRetries: 0 });
      assert.equal(embedding.length, 384);
    });

    test('xai: chat and responses with the model alone', async () => {
      const xai = createXai({ baseURL: `${server.url}/v1`, apiKey: 'any' });
      const ask = { prompt: 'Name three colours.', maxOutputTokens: 16, temperature: 0, maxRetries: 0 };
      const { text } = await generateText({ ...ask, model: xai(model) });
      assert.ok(text.length > 0);
      assert.equal((await generateText({ ...ask, model: xai.responses(model) })).text, text);
      assert.equal(await streamText({ ...ask, model: xai.responses(model) }).text, text);

      // Its chat client takes a streamed call in one piece alone.
      const tools = { weather: tool({ inputSchema: jsonSchema(WEATHER.parameters) }) };
      const [call] = await streamText({ ...ask, maxOutputTokens: 60, model: xai(model), tools, toolChoice: 'required', onError: () => {} }).toolCalls;
      assert.equal(call.toolName, 'weather');
      assert.equal(typeof call.input.city, 'string');
    });
  });

  describe('others go on', () => {
    const idle = async () => {
      for (let i = 0; i < 100; ++i) {
        const { engine } = await server.json('/v1/status');
        if (engine.running + engine.waiting === 0) return true;
        await sleep(50);
      }
      return false;
    };

    test('an aborted answer is made no further', async () => {
      const stream = await chat({ stream: true, max_tokens: 4000, logit_bias: ENDLESS });
      for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
      stream.controller.abort();
      assert.ok(await idle(), 'the engine is idle again');
    });

    test('eight streams finish beside clients that read nothing, leave, or send nonsense', async () => {
      const request = (body) => `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
      const long = JSON.stringify({ model, messages: COLOURS, stream: true, max_tokens: 4000, temperature: 0, logit_bias: ENDLESS });
      const { port } = new URL(server.url);
      const sockets = [request(long), request(long), request(long).slice(0, 90), request('{"model":'), 'GARBAGE\r\n\r\n'].map((bytes) => {
        const socket = connect(Number(port), '127.0.0.1').on('error', () => {});
        socket.pause();
        socket.write(bytes);
        return socket;
      });
      const streams = Array.from({ length: 8 }, async (_, i) => {
        let text = '';
        let finished = false;
        for await (const chunk of await chat({ stream: true, seed: i, temperature: 0.8 })) {
          text += chunk.choices[0]?.delta.content ?? '';
          finished ||= Boolean(chunk.choices[0]?.finish_reason);
        }
        return finished && text.length > 0;
      });
      sockets[0].destroy();
      sockets[2].destroy();
      assert.deepEqual(await Promise.all(streams), Array(8).fill(true));
      for (const socket of sockets) socket.destroy();
      assert.ok(await idle(), 'the engine is idle again');
    });
  });
});

describe('a busy server', { skip: skipWithoutModel }, () => {
  test('turns away with 429, and the client comes again as told', async () => {
    const server = await Server.start({ model: modelPath, args: ['--answers', '1', '--answers-waiting', '0'] });
    try {
      const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0 });
      const { name: model } = (await server.json('/v1/status')).model;
      const ask = { model, messages: COLOURS, max_tokens: 4 };
      const busy = await client.chat.completions.create({ ...ask, max_tokens: 4000, logit_bias: ENDLESS, stream: true });
      const chunks = busy[Symbol.asyncIterator]();  // a loop that is left would end the stream
      for (let i = 0; i < 3; ++i) await chunks.next();
      await assert.rejects(client.chat.completions.create(ask), (error) => error instanceof RateLimitError && error.code === 'rate_limit_exceeded' && Number(error.headers.get('retry-after')) > 0);
      const retries = client.chat.completions.create(ask, { maxRetries: 3 });
      await sleep(300);
      busy.controller.abort();
      assert.ok((await retries).choices[0].message.content.length > 0);
    } finally {
      await server.stop();
    }
  });

  test('finishes what runs when it is told to stop, and takes no more', async () => {
    const server = await Server.start({ model: modelPath, args: ['--drain', '100'] });
    try {
      const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0 });
      const { name: model } = (await server.json('/v1/status')).model;
      const stream = await client.chat.completions.create({ model, messages: COLOURS, max_tokens: 200, temperature: 0, logit_bias: ENDLESS, stream: true });
      const refusal = async () => {
        for (let i = 0; i < 2000; ++i) {
          // A connection that says nothing yet when the server begins to stop is closed.
          const response = await fetch(`${server.url}/healthz`, { headers: { Connection: 'close' } }).catch(() => null);
          if (response && response.status !== 200) return { status: response.status, again: response.headers.get('retry-after'), code: (await response.json()).error.code };
        }
        return null;
      };
      let finish;
      let ended;
      let refused;
      for await (const chunk of stream) {
        finish ??= chunk.choices[0]?.finish_reason;
        if (ended || !chunk.choices[0]?.delta.content) continue;
        ended = server.end('SIGTERM');
        refused = refusal();
      }
      assert.equal(finish, 'length', 'the running answer came to its end');
      assert.deepEqual(await refused, { status: 503, again: '5', code: 'shutting_down' });
      assert.equal((await ended).code, 0);
    } finally {
      await server.stop();
    }
  });
});
