// The modes over a real server, by both generations of the API: each claim is cited, each citation is of a post that was read and
// holds the passage where it says; a stream tells what a whole answer tells; styles and languages of the question hold.

import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { townPosts } from './posts.mjs';
import { freshFolder, Server } from './server.mjs';

const GUST = 'How strong was the strongest gust at the north mole in Varnholm harbour?';
const MODES = {
  answer: [GUST, { mode: 'answer' }],
  digest: ['What happened in Varnholm harbour?', { mode: 'digest' }],
  explain: ['Explain this post.', { mode: 'explain', post: 'api:town-3' }],
  deep: [GUST, { mode: 'deep', rounds: 2 }],
  think: [GUST, { think: true }],
};

/// What lies between `begin` and `end`, counted in code points as the API does.
const slice = (text, begin, end) => [...text].slice(begin, end).join('');
const request = (body) => ({ method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
const contentOf = (answer) => answer.choices[0].message.content;
const headingsOf = (text) => text.split('\n').filter((line) => line.startsWith('## ')).map((line) => line.slice(3));

async function eventsOf(server, path, body) {
  const response = await fetch(server.url + path, request({ ...body, stream: true }));
  assert.equal(response.status, 200);
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith('data: ') && line !== 'data: [DONE]');
  return lines.map((line) => JSON.parse(line.slice(6)));
}

/// Citations show passages of posts that were read; numbers and quotations stand in no line without a citation.
function expectCited(answer) {
  const text = contentOf(answer);
  const { citations, read } = answer.fathom;
  assert.ok(citations.length > 0, text);
  const known = new Map(read.map((post) => [post.key, post]));
  for (const citation of citations) {
    assert.equal(slice(text, citation.begin, citation.end), `[${citation.number}]`);
    assert.ok(citation.claim_begin < citation.begin && citation.end <= citation.claim_end);
    assert.equal(known.get(citation.key)?.text, citation.text, citation.key);
    assert.equal(slice(citation.text, citation.passage_begin, citation.passage_end), citation.passage);
  }
  for (const line of text.split('\n')) {
    const remark = line.startsWith('## ') || /^- .*\?$/.test(line) || !/["\d]/.test(line);
    if (!remark) assert.match(line, /\[\d+\]\.?$/, text);
  }
}

describe('modes', () => {
  let data, server;
  before(async () => {
    data = freshFolder();
    mkdirSync(join(data, 'styles'));
    writeFileSync(join(data, 'styles', 'night.txt'), 'title: Night shift\nsentences: 1\nopening: Tonight, in short:\n\nBe brief.\n');
    server = await Server.start({ data });
    await server.post(townPosts());
  });
  after(async () => {
    await server?.stop();
    rmSync(data, { recursive: true, force: true });
  });

  for (const [mode, [question, fathom]] of Object.entries(MODES)) {
    test(`${mode}: a chat's claims are cited, and the stream is the same`, async () => {
      const whole = await server.ask(question, { fathom });
      expectCited(whole);
      assert.equal(whole.fathom.writer, 'extract');
      const chunks = await eventsOf(server, '/v1/chat/completions', { model: 'fathom-extract', messages: [{ role: 'user', content: question }], fathom });
      assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join(''), contentOf(whole));
    });

    test(`${mode}: a response tells what the chat tells, streamed or not`, async () => {
      const body = { model: 'fathom-extract', input: question, fathom };
      const whole = await server.json('/v1/responses', request(body));
      const { text, annotations } = whole.output.flatMap((item) => item.content ?? []).find((part) => part.type === 'output_text');
      const chat = await server.ask(question, { fathom });
      assert.equal(text.replace(/\[(\[\d+\])\]\([^)]*\)/g, '$1'), contentOf(chat));
      assert.ok(annotations.length > 0);
      for (const { start_index: begin, end_index: end, url } of annotations) {
        assert.match(slice(text, begin, end), /^\[\[\d+\]\]\(/);
        assert.ok(slice(text, begin, end).endsWith(`(${url})`));
      }
      const events = await eventsOf(server, '/v1/responses', body);
      assert.equal(events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta).join(''), text);
    });
  }

  test('steps of the search are told', async () => {
    for (const mode of ['answer', 'digest', 'deep']) {
      const [question, fathom] = MODES[mode];
      const { steps } = (await server.ask(question, { fathom })).fathom;
      assert.ok(steps.length > 0 && steps.every((step) => step.tool === 'search_posts' && step.query), mode);
    }
  });

  test('a deep answer asks no more than its budget', async () => {
    for (const rounds of [1, 2, 4]) {
      const answer = await server.ask(GUST, { fathom: { mode: 'deep', rounds } });
      const { plan, steps } = answer.fathom;
      assert.ok(plan.length >= 1 && plan.length <= rounds, `${plan}`);
      assert.equal(plan[0], GUST);
      assert.ok(steps.every((step) => plan.includes(step.question)));
      assert.equal(headingsOf(contentOf(answer))[0], GUST);
    }
  });

  test('an explanation begins with the post and its author', async () => {
    const answer = await server.ask(...MODES.explain.slice(0, 1), { fathom: MODES.explain[1] });
    assert.deepEqual(headingsOf(contentOf(answer)).slice(0, 2), ['The post', 'Who wrote it']);
    assert.equal(answer.fathom.citations[0].key, 'api:town-3');
    assert.match(contentOf(answer), /104 km\/h/);
  });

  test('styles bound the answer, a file of the user among them', async () => {
    for (const style of ['brief', 'thorough', 'digest', 'playful', 'night']) {
      const answer = await server.ask(GUST, { fathom: { style } });
      assert.ok(answer.fathom.citations.length > 0, style);
      if (style === 'brief') assert.ok(answer.fathom.citations.length <= 2);
      if (style === 'night') {
        assert.equal(answer.fathom.citations.length, 1);
        assert.match(contentOf(answer), /^Tonight, in short:/);
      }
    }
    await assert.rejects(server.ask(GUST, { fathom: { style: 'nobody' } }), /: 4\d\d /);
  });

  test('remarks are in the language of the question', async () => {
    const asked = {
      'Wie viele Menschen starben in Zembla?': /^Ich habe im Feed /,
      '¿Cuántas personas murieron en Zembla?': /^No he encontrado /,
      'Combien de personnes sont mortes à Zembla ?': /^Je n'ai trouvé /,
    };
    for (const [question, expected] of Object.entries(asked)) assert.match(contentOf(await server.ask(question)), expected);
    const explained = await server.ask('Erkläre diesen Beitrag und wer ihn geschrieben hat.', { fathom: MODES.explain[1] });
    assert.doesNotMatch(contentOf(explained), /The post|Who wrote it/);
    assert.equal(explained.fathom.citations[0].key, 'api:town-3');
  });

  test('what the posts do not hold is not told in any mode', async () => {
    for (const fathom of [{ mode: 'answer' }, { mode: 'digest' }, { mode: 'deep', rounds: 2 }, { think: true }]) {
      const answer = await server.ask('Who won the chess championship of Zembla?', { fathom });
      assert.equal(answer.fathom.found, false, contentOf(answer));
      assert.deepEqual(answer.fathom.citations, []);
      assert.doesNotMatch(contentOf(answer), /\[\d+\]/);
    }
  });
});
