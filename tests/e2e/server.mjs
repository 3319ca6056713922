// A real `fathom serve` on a free port with a fresh folder, for one test file or one test.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

export const root = resolve(here, '../..');
export const binary = resolve(process.env.FATHOM_BINARY ?? join(root, 'build/release/fathom'));

const model = process.env.FATHOM_TEST_MODEL ?? join(root, '.fathom/models/SmolLM2-135M-Instruct.Q4_1.gguf');

/// The model's path, or null; with `skipWithoutModel` the tests that need it say why they do not run.
export const modelPath = existsSync(model) ? model : null;
export const skipWithoutModel = modelPath ? false : 'no model file: set FATHOM_TEST_MODEL or put one at .fathom/models';

const embedder = process.env.FATHOM_TEST_MINILM ?? join(root, '.fathom/test-models/all-MiniLM-L6-v2');
export const embedderPath = existsSync(embedder) ? embedder : null;
export const skipWithoutEmbedder = embedderPath ? false : 'no embedding model: set FATHOM_TEST_MINILM or put one at .fathom/test-models/all-MiniLM-L6-v2';

const READY = /^Fathom is ready: (https?:\/\/\S+?)\/?$/m;
const STARTING = 60_000;

export class Server {
  /// `options`: {data, port, source, model, embedding, env, args}. `data` given: the folder is the caller's and stays.
  static async start(options = {}) {
    const server = new Server(options);
    try {
      await server.#run();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  constructor(options) {
    this.options = options;
    this.ownFolder = !options.data;
    this.data = options.data ?? mkdtempSync(join(tmpdir(), 'fathom-e2e-'));
    this.output = '';
    this.log = '';
  }

  #run() {
    const { port = 0, source = 'none', model: file = 'none', embedding = 'none', env = {}, args = [] } = this.options;
    const command = ['serve', '--port', String(port), '--data', this.data, '--source', source, '--model', file, '--embedding-model', embedding, ...args];
    const started = performance.now();
    // Keys of the shell that runs the tests must not reach the server.
    const { FATHOM_API_KEY, FATHOM_STATE, ...clean } = process.env;
    this.process = spawn(binary, command, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...clean, ...env } });
    this.exited = new Promise((done) => {
      this.process.once('exit', (code, signal) => done({ code, signal }));
      this.process.once('error', (error) => done({ code: -1, signal: null, error }));
    });
    return new Promise((ready, fail) => {
      const timer = setTimeout(() => fail(new Error(`fathom did not say within ${STARTING} ms that it is ready\n${this.log}`)), STARTING);
      this.process.stdout.setEncoding('utf8').on('data', (text) => {
        this.output += text;
        const match = READY.exec(this.output);
        if (!match) return;
        clearTimeout(timer);
        this.url = match[1];
        this.startedIn = performance.now() - started;
        ready();
      });
      this.process.stderr.setEncoding('utf8').on('data', (text) => { this.log += text; });
      this.exited.then(({ code, signal, error }) => {
        clearTimeout(timer);
        fail(new Error(`fathom ended (${error ?? `code ${code}, signal ${signal}`}) before it was ready\n${this.output}${this.log}`));
      });
    });
  }

  /// Sends a signal and waits for the end: {code, signal, milliseconds}.
  async end(signal = 'SIGTERM') {
    const from = performance.now();
    this.process.kill(signal);
    const how = await this.exited;
    return { ...how, milliseconds: performance.now() - from };
  }

  async stop() {
    if (this.process && this.process.exitCode === null && this.process.signalCode === null) {
      const late = setTimeout(() => this.process.kill('SIGKILL'), 10_000);
      await this.end('SIGTERM');
      clearTimeout(late);
    }
    if (this.ownFolder) rmSync(this.data, { recursive: true, force: true });
  }

  /// POST /v1/posts as NDJSON; the acknowledgement.
  async post(posts, headers = {}) {
    const body = posts.map((post) => JSON.stringify(post)).join('\n');
    const response = await fetch(`${this.url}/v1/posts`, { method: 'POST', headers: { 'Content-Type': 'application/x-ndjson', ...headers }, body });
    const text = await response.text();
    if (!response.ok) throw new Error(`POST /v1/posts: ${response.status} ${text}`);
    return JSON.parse(text);
  }

  async json(path, options = {}) {
    const response = await fetch(`${this.url}${path}`, options);
    if (!response.ok) throw Object.assign(new Error(`${path}: ${response.status} ${await response.text()}`), { status: response.status });
    return response.json();
  }

  ask(question, extra = {}) {
    return this.json('/v1/chat/completions', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ model: 'fathom-extract', messages: [{ role: 'user', content: question }], ...extra }),
    });
  }
}

/// A folder for a test that starts several servers on it; remove it with `rmSync`.
export const freshFolder = () => mkdtempSync(join(tmpdir(), 'fathom-e2e-'));
export const outFolder = join(here, 'out');
