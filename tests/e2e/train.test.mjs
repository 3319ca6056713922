// Training as people use it: from text to a model that answers, and whatever may happen on the way.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { binary, Server } from './server.mjs';
import { Slurm, skipWithoutSlurm } from './slurm.mjs';

const STOPPED = 75;
const STEPS = 400; // enough that whoever is asked or killed in mid-run is still running when it arrives
const skipWithoutMpi = spawnSync('mpirun', ['--version']).status === 0 ? false : 'no mpirun: apt-get install openmpi-bin';

const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

/// Starts the program; `done` is what became of it: {code, signal, out, err}.
function start(args, { env = process.env } = {}) {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text) => { out += text; });
  child.stderr.setEncoding('utf8').on('data', (text) => { err += text; });
  const done = new Promise((end) => { child.once('close', (code, signal) => end({ code, signal, out, err })); });
  return { child, done };
}

const fathom = (...args) => start(args).done;

/// Processes that train in `folder` as a rank: not the launchers.
function ranks(folder) {
  const found = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      if (command[0].endsWith('/fathom') && command[1] === 'train' && command[2]?.startsWith(folder)
        && /(^|\0)(OMPI_COMM_WORLD_RANK|PMIX_RANK)=/.test(environment)) found.push(Number(pid));
    } catch { /* it has ended */ }
  }
  return found;
}

function lines(file) {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8').split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line)];
    } catch {
      return [];
    }
  });
}

/// Lines in which a word tells the next one, most of the time: something to learn, and no line twice.
function text() {
  const words = ['the', 'ferry', 'leaves', 'harbour', 'at', 'noon', 'and', 'returns', 'before', 'dark', 'when', 'wind', 'allows'];
  let state = 1;
  const random = (below) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
  const line = () => {
    let word = random(words.length);
    return Array.from({ length: 40 }, () => {
      word = random(8) === 0 ? random(words.length) : (word * 5 + 1) % words.length;
      return words[word];
    }).join(' ');
  };
  return Array.from({ length: 400 }, () => JSON.stringify({ text: line() })).join('\n');
}

const RUN = (name, layout) => `
seed = 5
precision = "f32"
folder = "${name}"
layout = "${layout}"
[model]
description = "model.toml"
[data]
train = "tokens/train"
held_out = "tokens/held-out"
length = 32
[batch]
sequences = 8
micro = 2
[schedule]
learning_rate = 5e-3
steps = ${STEPS}
warmup = 5
[checkpoint]
steps = 5
minutes = 0
[evaluate]
every = 0
batches = 1
`;

const MODEL = `
name = "ferry"
source = "made for tests"
architecture = "llama"
layers = 2
d_model = 32
heads = 4
kv_heads = 2
ffn = 64
vocab = 320
context = 64
tied_output = true
`;

describe('fathom train', () => {
  let folder;
  const file = (name) => join(folder, name);
  const losses = (name) => lines(file(`${name}/metrics.jsonl`)).map(({ step, loss }) => [step, loss]);
  const write = (name, layout = 'data=1') => {
    writeFileSync(file(`${name}.toml`), RUN(name, layout));
    return file(`${name}.toml`);
  };
  /// Until the run has done so many steps.
  const until = async (name, step) => {
    for (let tries = 0; (losses(name).at(-1)?.[0] ?? 0) < step; tries += 1) {
      assert.ok(tries < 3000, `${name} did not come to step ${step}`);
      await pause(10);
    }
  };

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fathom-train-'));
    writeFileSync(file('text.ndjson'), text());
    writeFileSync(file('model.toml'), MODEL);
    const tokenizer = await fathom('tokenizer', 'train', '--vocab', '320', '--out', file('tok'), file('text.ndjson'));
    assert.equal(tokenizer.code, 0, tokenizer.err);
    const data = await fathom('data', 'prepare', '--tokenizer', file('tok/tokenizer.gguf'), '--out', file('tokens'), '--holdout', '10%', file('text.ndjson'));
    assert.equal(data.code, 0, data.err);
    const straight = await fathom('train', write('straight'), '--json');
    assert.equal(straight.code, 0, straight.err);
    const two = await fathom('train', write('two', 'data=2 zero=1'), '--threads-as-ranks', '--json');
    assert.equal(two.code, 0, two.err);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const command of [['train'], ['train', 'show'], ['train', 'report'], ['train', 'export']]) {
    test(`${command.join(' ')} --help has an example`, async () => {
      const { code, out } = await fathom(...command, '--help');
      assert.equal(code, 0);
      assert.match(out, new RegExp(`Examples?:\n(.*\n)*? *.*fathom ${command.join(' ')}`));
    });
  }

  const bad = {
    'a file that is not there': [['train', '/no/such.toml'], /\/no\/such\.toml/],
    'nothing at all': [['train'], /RUN\.toml/],
    'an unknown key': [['train', 'straight.toml', '--set', 'optimiser.beta3=1'], /straight\.toml.*beta3/],
    'a layout that does not divide': [['train', 'straight.toml', '--layout', 'tensor=3'], /straight\.toml/],
    'ranks that are not the layout\'s': [['train', 'two.toml', '--ranks', '3'], /2 ranks, not 3/],
    'no data': [['train', 'straight.toml', '--set', 'data.train=nowhere', '--set', 'folder=other'], /nowhere/],
    'a folder that is no run': [['train', 'show', 'tok'], /no folder of a training run/],
    'an export without a checkpoint': [['train', 'export', 'tok', '--out', 'x.gguf'], /no folder of a training run/],
    'a file where a folder goes': [['train', 'export', 'straight', '--out', 'straight.toml'], /straight\.toml' is a file/],
    'a block format': [['train', 'export', 'straight', '--out', 'x.gguf', '--dtype', 'Q4_K'], /fathom quantize/],
  };
  for (const [what, [args, sentence]] of Object.entries(bad)) {
    test(`${what} is one sentence and exit code 2`, async () => {
      const named = args.map((arg) => (/^(straight|two|tok)(\.toml)?$/.test(arg) ? file(arg) : arg));
      const { code, err } = await fathom(...named);
      assert.equal(code, 2, err);
      assert.match(err, sentence);
      assert.equal(err.trim().split('\n').length, 1, err);
    });
  }

  test('a dry run tells what it will be and does nothing', async () => {
    const { code, out, err } = await fathom('train', write('dry', 'data=2'), '--dry-run', '--json');
    assert.equal(code, 0, err);
    const plan = JSON.parse(out);
    assert.deepEqual([plan.steps, plan.tokens, plan.ranks], [STEPS, STEPS * 256, 2]);
    assert.ok(plan.parameters > 10_000);
    assert.ok(!existsSync(file('dry')));
  });

  test('it learns, and show and report tell of it', async () => {
    const curve = losses('straight');
    assert.equal(curve.length, STEPS);
    assert.ok(curve.at(-1)[1] < curve[0][1] - 2, `${curve[0][1]} to ${curve.at(-1)[1]}`);
    const shown = JSON.parse((await fathom('train', 'show', file('straight'), '--json')).out);
    assert.deepEqual([shown.step, shown.finished, shown.skipped], [STEPS, true, 0]);
    assert.ok(shown.held_out_loss < curve[0][1] - 2);
    assert.equal((await fathom('train', 'report', file('straight'))).code, 0);
    const page = readFileSync(file('straight/report.html'), 'utf8');
    assert.match(page, /<svg/);
    assert.doesNotMatch(page, /<script|src=|href="http/);
    assert.match(readFileSync(file('straight/metrics.prom'), 'utf8'), /fathom_train_loss\{run="straight"\} [\d.]+/);
  });

  test('what comes out is a model that writes what it learnt', async () => {
    for (const out of ['ferry.gguf', 'ferry-hf']) {
      const exported = await fathom('train', 'export', file('straight'), '--out', file(out));
      assert.equal(exported.code, 0, exported.err);
      const inspected = JSON.parse((await fathom('inspect', file(out), '--json')).out);
      assert.equal(inspected.architecture, 'llama');
      assert.equal(inspected.serves, 'text', inspected.problem);
    }
    const server = await Server.start({ model: file('ferry.gguf') });
    try {
      const { choices } = await server.json('/v1/completions', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ model: 'ferry', prompt: 'the ferry leaves', max_tokens: 12, temperature: 0 }),
      });
      assert.match(choices[0].text, /^ ?(the|ferry|leaves|harbour|at|noon|and|returns|before|dark|when|wind|allows)\b/, choices[0].text);
    } finally {
      await server.stop();
    }
  });

  test('the same command on a finished run does nothing', async () => {
    const { code, out } = await fathom('train', file('straight.toml'), '--json');
    assert.equal(code, 0);
    assert.equal(JSON.parse(out).step, STEPS);
    assert.ok(!('loss' in JSON.parse(out)), out); // none was made
    assert.equal(losses('straight').length, STEPS);
  });

  test('two ranks learn what one does', () => {
    const one = losses('straight');
    for (const [i, [step, loss]] of losses('two').entries())
      assert.ok(Math.abs(loss - one[i][1]) < 2e-3 * one[i][1], `step ${step}: ${loss} and ${one[i][1]}`);
  });

  test('SIGTERM saves and leaves with 75; the same command goes on with the same bits', async () => {
    const run = start(['train', write('asked')]);
    await until('asked', 7);
    run.child.kill('SIGTERM');
    const { code, err, out } = await run.done;
    assert.equal(code, STOPPED, err);
    assert.match(out, /Stopped after step \d+ of 400 and saved/);
    assert.equal((await fathom('train', file('asked.toml'))).code, 0);
    assert.deepEqual(losses('asked'), losses('straight'));
  });

  test('killed again and again, it ends where the undisturbed run does', async (t) => {
    write('killed');
    let kills = 0;
    for (let step = 4; step < STEPS; step += 80) {
      const run = start(['train', file('killed.toml')]);
      await until('killed', step);
      await pause((step * 7) % 23);
      run.child.kill('SIGKILL');
      if ((await run.done).signal === 'SIGKILL') kills += 1;
    }
    const { code, err } = await fathom('train', file('killed.toml'));
    assert.equal(code, 0, err);
    assert.deepEqual(losses('killed'), losses('straight'));
    t.diagnostic(`${kills} kills`);
  });

  describe('under mpirun', { skip: skipWithoutMpi }, () => {
    test('a rank or the launcher killed: the last good checkpoint, the same bits in the end', async (t) => {
      write('mpi', 'data=2 zero=1');
      const again = () => start(['train', file('mpi.toml'), '--restarts', '9']);
      for (const step of [6, 90]) {
        const run = again();
        await until('mpi', step);
        await pause((step * 11) % 29);
        run.child.kill('SIGKILL');
        await run.done;
        for (let tries = 0; ranks(folder).length > 0; tries += 1) {
          assert.ok(tries < 500, 'ranks outlive their launcher');
          await pause(10);
        }
      }
      const run = again();
      let kills = 0;
      for (const step of [150, 210, 270]) {
        await until('mpi', step);
        const [victim] = ranks(folder).slice(step % 2);
        try {
          if (victim) process.kill(victim, 'SIGKILL');
          kills += victim ? 1 : 0;
        } catch (error) {
          assert.equal(error.code, 'ESRCH'); // it had ended by itself
        }
      }
      const { code, err } = await run.done;
      assert.equal(code, 0, err);
      assert.match(err, /rank \d was ended by signal 9 .*starting again from the last good checkpoint/);
      assert.deepEqual(losses('mpi'), losses('two'));
      t.diagnostic(`2 launchers and ${kills} ranks killed`);
    });

    test('asked to end, the ranks save and the launcher leaves with 75', async () => {
      const run = start(['train', write('mpi-asked', 'data=2 zero=1')]);
      await until('mpi-asked', 5);
      run.child.kill('SIGTERM');
      const { code, err } = await run.done;
      assert.equal(code, STOPPED, err);
      assert.equal((await fathom('train', file('mpi-asked.toml'))).code, 0);
      assert.deepEqual(losses('mpi-asked'), losses('two'));
    });
  });

  test('under Slurm: submitted, a rank killed, put back, resumed, the same bits in the end', { skip: skipWithoutSlurm }, async (t) => {
    const slurm = await Slurm.start();
    try {
      const submitted = await start(['train', write('slurm', 'data=2 zero=1'), '--slurm', '--time', '10', '--json'], { env: slurm.env }).done;
      assert.equal(submitted.code, 0, submitted.err);
      const { job } = JSON.parse(submitted.out);
      await until('slurm', 12);
      const [victim] = ranks(folder).slice(-1);
      assert.ok(victim, 'a rank is at work');
      process.kill(victim, 'SIGKILL');
      assert.equal(await slurm.end(job, 60), 'COMPLETED', slurm.log());
      assert.equal(slurm.restarts(job), 1);
      assert.deepEqual(losses('slurm'), losses('two'));
      assert.ok(lines(file('slurm/events.jsonl')).some(({ event }) => event === 'resumed'));
      t.diagnostic('requeued once');
    } finally {
      await slurm.stop();
    }
  });
});
