// Training over MPI as people start it: `fathom train` with a layout, and the curve of one process comes out.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { binary } from './server.mjs';

const STEPS = 8;
const skip = spawnSync('mpirun', ['--version']).status === 0 ? false : 'no mpirun: install openmpi-bin to train over MPI';

/// Runs the program to its end: {code, out, err}.
function fathom(...args) {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text) => { out += text; });
  child.stderr.setEncoding('utf8').on('data', (text) => { err += text; });
  return new Promise((done) => child.once('close', (code) => done({ code, out, err })));
}

async function succeed(...args) {
  const { code, out, err } = await fathom(...args);
  assert.equal(code, 0, err);
  return out;
}

/// Sentences of a small world, all different and the same at every run.
function text() {
  const words = ['heron', 'miller', 'clockmaker', 'ferry', 'bridge', 'door', 'tower', 'song', 'harbour', 'lamp', 'crosses', 'paints', 'forgets', 'repairs', 'follows',
    'red', 'old', 'quiet', 'wooden', 'seven', 'under', 'beside', 'before', 'without', 'the', 'a', 'every', 'no', 'morning', 'winter', 'river', 'stone', 'wind'];
  let state = 1;
  const pick = () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return words[Math.floor(state / 65536) % words.length];
  };
  return Array.from({ length: 300 }, () => JSON.stringify({ text: `${Array.from({ length: 30 }, pick).join(' ')}.` })).join('\n');
}

const models = {
  dense: `name = "small"
source = "made for tests"
architecture = "llama"
layers = 4
d_model = 32
heads = 8
kv_heads = 4
ffn = 64
vocab = 320
context = 32
tied_output = true
`,
  mixture: `name = "small mixture"
source = "made for tests"
architecture = "grok"
layers = 4
d_model = 32
heads = 8
kv_heads = 4
vocab = 320
context = 32
tied_output = true
activation = "gelu"
post_norms = true
attention_softcap = 30
[experts]
count = 8
used = 2
ffn = 32
`,
};

const run = (model) => `seed = 5
precision = "f32"
[model]
description = "${model}.toml"
[data]
train = "tokens/train"
length = 32
[batch]
sequences = 8
micro = 1
[loss]
capacity = 1.5
[optimiser]
epsilon = 1e-6
[schedule]
learning_rate = 2e-3
steps = ${STEPS}
warmup = 2
[checkpoint]
steps = 0
minutes = 0
[evaluate]
every = 0
`;

describe('training over MPI', { skip }, () => {
  let folder;
  const alone = {};

  /// Trains and returns a line of metrics for each step.
  async function train(model, name, ...args) {
    const out = join(folder, name);
    await succeed('train', join(folder, `run-${model}.toml`), '--threads', '1', '--set', `folder=${out}`, ...args);
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    assert.equal(lines.length, STEPS);
    return lines;
  }

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fathom-train-'));
    writeFileSync(join(folder, 'text.ndjson'), text());
    await succeed('tokenizer', 'train', '--vocab', '320', '--out', join(folder, 'tokenizer'), join(folder, 'text.ndjson'));
    await succeed('data', 'prepare', '--tokenizer', join(folder, 'tokenizer'), '--keep-duplicates', '--out', join(folder, 'tokens'), join(folder, 'text.ndjson'));
    for (const model of Object.keys(models)) {
      writeFileSync(join(folder, `${model}.toml`), models[model]);
      writeFileSync(join(folder, `run-${model}.toml`), run(model));
      alone[model] = await train(model, `${model}-alone`);
      assert.ok(alone[model].at(-1).loss < alone[model][0].loss - 0.1, `${model} learns nothing`);
    }
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const layouts = {
    dense: ['data=2', 'data=4 zero=1', 'data=8 zero=2', 'tensor=2', 'tensor=4', 'pipeline=2', 'pipeline=4', 'pipeline=2 chunks=2', 'data=2 tensor=2 pipeline=2'],
    mixture: ['data=2 expert=2', 'data=4 expert=4', 'data=2 expert=2 tensor=2', 'data=2 expert=2 tensor=2 pipeline=2 zero=2'],
  };
  for (const [model, lines] of Object.entries(layouts)) {
    for (const line of lines) {
      test(`${model}, ${line}: the curve of one process`, async () => {
        const curve = await train(model, `${model}-${line.replaceAll(/[ =]/g, '-')}`, '--layout', line);
        for (const [i, { loss, grad_norm: norm }] of curve.entries()) {
          const expected = alone[model][i];
          assert.ok(Math.abs(loss - expected.loss) < 1e-5 * expected.loss, `step ${i + 1}: loss ${loss}, alone ${expected.loss}`);
          assert.ok(Math.abs(norm - expected.grad_norm) < 1e-4 * expected.grad_norm, `step ${i + 1}: norm ${norm}, alone ${expected.grad_norm}`);
        }
      });
    }
  }

  test('a layout that does not go with the model is one sentence and exit code 2', async () => {
    const { code, err } = await fathom('train', join(folder, 'run-dense.toml'), '--layout', 'tensor=3', '--set', `folder=${join(folder, 'bad')}`);
    assert.equal(code, 2, err);
    assert.match(err, /tensor=3 does not divide/);
    assert.equal(err.trim().split('\n').length, 1, err);
  });
});
