// A real Slurm of one node on the loopback interface, with all that it keeps in a folder of its own.

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { hostname, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

const path = `${process.env.PATH}:/usr/sbin:/sbin`;
const there = (program) => spawnSync('sh', ['-c', `command -v ${program}`], { env: { ...process.env, PATH: path } }).status === 0;

export const skipWithoutSlurm = ['slurmctld', 'slurmd', 'sbatch', 'srun'].every(there)
  ? false : 'no Slurm on this machine: apt-get install slurmctld slurmd slurm-client';

const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

async function freePort() {
  const server = createServer();
  await new Promise((done) => { server.listen(0, '127.0.0.1', done); });
  const { port } = server.address();
  await new Promise((done) => { server.close(done); });
  return port;
}

/// Jobs are put back into the queue and started again within seconds; nobody is asked for a password.
const configuration = (folder, node, user, controller, daemon) => `
ClusterName=fathom
SlurmctldHost=${node}(127.0.0.1)
SlurmUser=${user}
SlurmdUser=${user}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
SlurmctldPort=${controller}
SlurmdPort=${daemon}
StateSaveLocation=${folder}/state
SlurmdSpoolDir=${folder}/spool
SlurmctldPidFile=${folder}/slurmctld.pid
SlurmdPidFile=${folder}/slurmd.pid
SlurmctldLogFile=${folder}/slurmctld.log
SlurmdLogFile=${folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
NodeName=${node} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=${node} Default=YES MaxTime=INFINITE State=UP
`;

export class Slurm {
  static async start() {
    const slurm = new Slurm(mkdtempSync(join(tmpdir(), 'fathom-slurm-')));
    try {
      await slurm.#run();
    } catch (error) {
      await slurm.stop();
      throw error;
    }
    return slurm;
  }

  constructor(folder) {
    this.folder = folder;
    this.env = { ...process.env, PATH: path, SLURM_CONF: join(folder, 'slurm.conf') };
    this.daemons = [];
  }

  async #run() {
    for (const part of ['state', 'spool']) mkdirSync(join(this.folder, part));
    writeFileSync(this.env.SLURM_CONF, configuration(this.folder, hostname().split('.')[0], userInfo().username, await freePort(), await freePort()));
    for (const daemon of ['slurmctld', 'slurmd']) this.daemons.push(spawn(daemon, ['-D'], { env: this.env, stdio: 'ignore' }));
    for (let tries = 0; this.run('sinfo', '-h', '-o', '%T').trim() !== 'idle'; tries += 1) {
      if (tries === 100) throw new Error(`Slurm did not come up:\n${this.log()}`);
      await pause(100);
    }
  }

  log() {
    return ['slurmctld.log', 'slurmd.log'].map((name) => {
      try {
        return readFileSync(join(this.folder, name), 'utf8').slice(-4000);
      } catch {
        return '';
      }
    }).join('\n');
  }

  run(program, ...args) {
    return spawnSync(program, args, { env: this.env, encoding: 'utf8' }).stdout ?? '';
  }

  /// PENDING, RUNNING, COMPLETED, ...
  state(job) {
    return /JobState=(\w+)/.exec(this.run('scontrol', 'show', 'job', job))?.[1] ?? 'UNKNOWN';
  }

  restarts(job) {
    return Number(/Restarts=(\d+)/.exec(this.run('scontrol', 'show', 'job', job))?.[1] ?? 0);
  }

  async end(job, seconds) {
    for (let tries = 0; tries < seconds * 5; tries += 1) {
      const state = this.state(job);
      if (!['PENDING', 'CONFIGURING', 'RUNNING', 'COMPLETING', 'REQUEUED'].includes(state)) return state;
      await pause(200);
    }
    throw new Error(`the job did not end in ${seconds} s:\n${this.log()}`);
  }

  async stop() {
    this.run('scancel', '--user', userInfo().username);
    for (const daemon of this.daemons.reverse()) {
      const ended = new Promise((done) => { daemon.once('exit', done); });
      if (daemon.exitCode !== null || daemon.signalCode !== null || !daemon.kill('SIGTERM')) continue;
      await Promise.race([ended, pause(5000).then(() => daemon.kill('SIGKILL'))]);
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
