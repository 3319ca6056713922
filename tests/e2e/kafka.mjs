// A real Kafka broker (KRaft: broker and controller in one process) on loopback, from Maven Central's packages.

import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const state = process.env.FATHOM_STATE ?? join(here, '../../.fathom');
const jars = join(state, 'kafka');

/// Fetched once: what pom.xml names. Returns why there is no broker, or false.
function fetch() {
  if (spawnSync('java', ['-version']).status !== 0) return 'no Java: apt-get install openjdk-17-jre-headless';
  if (existsSync(join(jars, 'whole'))) return false;
  const maven = spawnSync('mvn', ['-q', '-B', '-f', join(here, 'kafka.pom.xml'), 'dependency:copy-dependencies',
    '-DincludeScope=runtime', `-DoutputDirectory=${jars}`], { encoding: 'utf8' });
  if (maven.error) return 'no Maven: apt-get install maven';
  if (maven.status !== 0) return `Kafka could not be fetched: ${maven.stdout.trim().split('\n').at(0)}`;
  writeFileSync(join(jars, 'whole'), '');
  return false;
}

export const skipWithoutKafka = fetch();

const freePort = () => new Promise((done) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => done(port));
  });
});

const answers = (port) => new Promise((done) => {
  const socket = connect(port, '127.0.0.1', () => { socket.destroy(); done(true); });
  socket.on('error', () => done(false));
});

const java = (...args) => ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', join(jars, '*'), ...args];

export class Kafka {
  static async start({ partitions = 4 } = {}) {
    const kafka = new Kafka();
    kafka.folder = mkdtempSync(join(tmpdir(), 'fathom-kafka-'));
    const [port, controller] = [await freePort(), await freePort()];
    kafka.port = port;
    kafka.settings = join(kafka.folder, 'server.properties');
    writeFileSync(kafka.settings, [
      'process.roles=broker,controller', 'node.id=1', `controller.quorum.voters=1@127.0.0.1:${controller}`,
      `listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
      `advertised.listeners=PLAINTEXT://127.0.0.1:${port}`, 'controller.listener.names=CONTROLLER',
      'listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT', `log.dirs=${kafka.folder}/data`,
      `num.partitions=${partitions}`, 'auto.create.topics.enable=true', 'offsets.topic.replication.factor=1',
      'transaction.state.log.replication.factor=1', 'transaction.state.log.min.isr=1',
    ].join('\n'));
    const bytes = randomBytes(16);
    bytes[0] = 0; // an id that begins with '-' would be taken for an option
    const id = bytes.toString('base64url');
    const format = spawnSync('java', java('kafka.tools.StorageTool', 'format', '-t', id, '-c', kafka.settings), { encoding: 'utf8' });
    if (format.status !== 0) throw new Error(format.stderr + format.stdout);
    await kafka.run();
    return kafka;
  }

  get address() { return `127.0.0.1:${this.port}`; }

  /// Starts the process, again after `kill`.
  async run() {
    this.output = '';
    this.child = spawn('java', java('kafka.Kafka', this.settings), { stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stdout.on('data', (text) => { this.output += text; });
    this.child.stderr.on('data', (text) => { this.output += text; });
    for (let tries = 0; !await answers(this.port); tries += 1) {
      if (tries > 600 || this.child.exitCode !== null) throw new Error(`no broker: ${this.output}`);
      await new Promise((done) => { setTimeout(done, 100); });
    }
  }

  async kill(signal = 'SIGKILL') {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((done) => { this.child.once('exit', done); });
    this.child.kill(signal);
    await gone;
  }

  async stop() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
