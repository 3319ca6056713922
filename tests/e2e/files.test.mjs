// The commands about model files as a person types them: inspect, quantize, and pull from a server on this machine.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { binary, modelPath, skipWithoutModel } from './server.mjs';

/// Runs the program to its end: {code, out, err}. `kill` ends it by that signal when its output file has grown to a size.
function fathom(args, { env = {}, signal, when } = {}) {
  const { HF_TOKEN, HF_ENDPOINT, FATHOM_STATE, ...clean } = process.env;
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...clean, ...env } });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text) => { out += text; });
  child.stderr.setEncoding('utf8').on('data', (text) => { err += text; });
  if (signal) when.then(() => child.kill(signal));
  return new Promise((done) => child.once('close', (code) => done({ code, out, err })));
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

describe('model files', () => {
  let folder;
  before(() => { folder = mkdtempSync(join(tmpdir(), 'fathom-files-')); });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const command of ['inspect', 'quantize', 'pull']) {
    test(`${command} --help has an example`, async () => {
      const { code, out } = await fathom([command, '--help']);
      assert.equal(code, 0);
      assert.match(out, new RegExp(`Examples?:\n(.*\n)*? *.*fathom ${command}`));
    });
  }

  const bad = {
    'a file that is not there': [['inspect', '/no/such/model.gguf'], /\/no\/such\/model\.gguf/],
    'a file that is no model': [['inspect', binary], /not a sound GGUF/],
    'a folder that is no model': [['inspect', tmpdir()], /config\.json/],
    'an unknown format': [['quantize', binary, '/tmp/never.gguf', '--type', 'Q9'], /Q9.*Q8_0/],
    'a name that is none': [['pull', 'model'], /OWNER\/NAME/],
    'a name that leaves the folder': [['pull', 'a/b:../../c'], /OWNER\/NAME/],
  };
  for (const [what, [args, sentence]] of Object.entries(bad)) {
    test(`${what} is one sentence and exit code 2`, async () => {
      const { code, err } = await fathom(args);
      assert.equal(code, 2, err);
      assert.match(err, sentence);
      assert.equal(err.trim().split('\n').length, 1, err);
    });
  }

  test('inspect and quantize a real model', { skip: skipWithoutModel }, async () => {
    const before = JSON.parse((await fathom(['inspect', modelPath, '--json', '--tensors'])).out);
    assert.equal(before.serves, 'text');
    assert.equal(before.tensors.length, before.tensor_count);
    const out = join(folder, 'q8.gguf');
    const run = await fathom(['quantize', modelPath, out, '--type', 'Q8_0', '--json']);
    assert.equal(run.code, 0, run.err);
    assert.equal(JSON.parse(run.out).bytes, statSync(out).size);
    const made = JSON.parse((await fathom(['inspect', out, '--json'])).out);
    assert.equal(made.quantisation, 'Q8_0');
    assert.equal(made.serves, 'text');
    assert.equal(made.parameters, before.parameters);
    const again = await fathom(['quantize', modelPath, out, '--type', 'F16']);
    assert.equal(again.code, 2);
    assert.match(again.err, /--force/);
    assert.deepEqual(readdirSync(folder), ['q8.gguf']);
  });

  test('pull fetches, resumes after a kill, checks, and keeps the token to itself', async () => {
    const bytes = Buffer.alloc(3_000_000, 'fathom ');
    const state = join(folder, 'state');
    const ranges = [];
    let slow = true;
    let started;
    const half = new Promise((resolve) => { started = resolve; });
    const elsewhere = createServer((request, response) => {
      assert.equal(request.headers.authorization, undefined);
      ranges.push(request.headers.range);
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? 'bytes=0-')[1]);
      response.writeHead(from ? 206 : 200, {
        'content-length': bytes.length - from,
        ...(from ? { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {}),
      });
      if (!slow) return response.end(bytes.subarray(from));
      response.write(bytes.subarray(0, 1_000_000), () => setTimeout(started, 200));  // and no more
    });
    const hub = createServer((request, response) => {
      assert.equal(request.headers.authorization, 'Bearer hf_secret');
      if (request.url.startsWith('/api/models/owner/tiny/revision/main')) {
        return response.end(JSON.stringify({
          sha: 'a'.repeat(40),
          siblings: [{ rfilename: 'tiny.gguf', size: bytes.length, lfs: { sha256: sha256(bytes), size: bytes.length } }],
        }));
      }
      response.writeHead(302, { location: `http://127.0.0.1:${elsewhere.address().port}/bytes` }).end();
    });
    await new Promise((done) => elsewhere.listen(0, '127.0.0.1', done));
    await new Promise((done) => hub.listen(0, '127.0.0.1', done));
    try {
      const env = { HF_ENDPOINT: `http://127.0.0.1:${hub.address().port}`, HF_TOKEN: 'hf_secret' };
      const killed = await fathom(['pull', 'owner/tiny', '--data', state], { env, signal: 'SIGKILL', when: half });
      assert.equal(killed.code, null);
      assert.ok(!existsSync(join(state, 'models', 'tiny.gguf')));
      slow = false;
      const run = await fathom(['pull', 'owner/tiny', '--data', state, '--json'], { env });
      assert.equal(run.code, 0, run.err);
      const result = JSON.parse(run.out);
      assert.equal(result.bytes, bytes.length);
      assert.ok(result.fetched_bytes < bytes.length, 'it went on where the killed one ended');
      assert.match(ranges.at(-1), /^bytes=[1-9]/);
      assert.deepEqual(readdirSync(join(state, 'models')), ['tiny.gguf']);
      assert.deepEqual(readFileSync(result.path), bytes);
      const missing = await fathom(['pull', 'owner/other', '--data', state], { env });
      assert.notEqual(missing.code, 0);
      assert.doesNotMatch(missing.err + run.err + run.out, /hf_secret/);
    } finally {
      hub.close();
      elsewhere.closeAllConnections();
      elsewhere.close();
    }
  });

  test('models lists what pull and a person put there', async () => {
    const state = join(folder, 'listed');
    mkdirSync(join(state, 'models'), { recursive: true });
    writeFileSync(join(state, 'models', 'junk.gguf'), 'junk');
    const { code, out } = await fathom(['models', '--data', state, '--json']);
    assert.equal(code, 2);
    assert.match(JSON.parse(out)[0].error, /not a sound GGUF/);
  });
});
