// The page /plan: sliders change a scenario, the server plans it anew, figures and drawings follow.

import { ApiError, getJson, postJson } from './api.js';
import { byId, h } from './dom.js';

const DEBOUNCE_MS = 60;
const DAY_MS = 86_400_000;
const CHIPS = { low: 64, high: 400_000 };
const TOKENS = { low: 1e10, high: 1e14 };

const elements = Object.fromEntries(
  ['scenario', 'about', 'accelerator', 'chips', 'topology', 'oversubscription', 'model', 'tokens', 'batch', 'target',
    'reset', 'results', 'notice', 'figures', 'layout', 'drawings', 'state', 'date-controls', 'controls',
  ].map((id) => [id, byId(id)]),
);

let choices = null;
let base = null;       // the scenario as it stands, from the first plan of it
let touched = new Set();  // controls that the person moved
let timer = 0;
let running = null;

/// A slider from 0 to 1000 over powers of ten.
const fromSlider = (value, { low, high }) => low * (high / low) ** (value / 1000);
const toSlider = (value, { low, high }) => Math.round((1000 * Math.log(value / low)) / Math.log(high / low));

function threeFigures(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
}

function scaled(value, units) {
  let at = 0;
  while (Math.abs(value) >= 999.5 && at + 1 < units.length) {
    value /= 1000;
    at += 1;
  }
  return threeFigures(value) + units[at];
}

export const count = (value) => Math.round(value).toLocaleString('en-US');
export const money = (value) => `$${scaled(value, ['', ' k', ' M', ' B', ' T'])}`;
export const watts = (value) => scaled(value, [' W', ' kW', ' MW', ' GW']);
export const tokens = (value) => scaled(value, ['', ' k', ' M', ' B', ' T']);
export const percent = (share) => `${(100 * share).toFixed(share > 0.9995 ? 0 : 1)} %`;

/// Whole hosts, near to the value in three figures.
function chipsOf(slider) {
  const host = base?.scenario.machine.chips_per_host ?? 8;
  const rough = Number(fromSlider(slider, CHIPS).toPrecision(3));
  return Math.max(host, Math.round(rough / host) * host);
}

/// Of the highest tier that has one above it: leaves of a network of two, spines of one of three.
const oversubscription = (times) => (base.scenario.machine.network.tiers.length > 3 ? [1, times] : [times]);
const oversubscribed = (network) => network.oversubscription.at(-1) ?? 1;

function dateOf(slider) {
  const start = Date.parse(base.scenario.schedule.start);
  return new Date(start + (90 + (slider / 1000) * 1200) * DAY_MS).toISOString().slice(0, 10);
}

function sliderOfDate(text) {
  const days = (Date.parse(text) - Date.parse(base.scenario.schedule.start)) / DAY_MS;
  return Math.min(1000, Math.max(0, Math.round(((days - 90) / 1200) * 1000)));
}

function changes() {
  const out = {};
  if (touched.has('accelerator')) {
    const chosen = choices.accelerators.find((chip) => chip.id === elements.accelerator.value);
    out['machine.accelerator'] = chosen.id;
    out['machine.host'] = chosen.host;
  }
  if (touched.has('chips')) out['machine.chips'] = chipsOf(elements.chips.value);
  if (touched.has('topology')) out['network.topology'] = elements.topology.value;
  if (touched.has('oversubscription')) out['network.oversubscription'] = oversubscription(Number(elements.oversubscription.value));
  if (touched.has('model')) out['model.preset'] = elements.model.value;
  if (touched.has('tokens')) out['job.tokens'] = Number(fromSlider(elements.tokens.value, TOKENS).toPrecision(3));
  if (touched.has('batch')) out['job.global_batch'] = 2 ** Number(elements.batch.value);
  if (touched.has('target')) out['schedule.target'] = dateOf(elements.target.value);
  return out;
}

function showValues() {
  if (!base) return;
  const { machine, job, schedule } = base.scenario;
  const value = (id, moved, still) => {
    byId(`${id}-value`).textContent = touched.has(id) ? moved() : still();
  };
  value('chips', () => count(chipsOf(elements.chips.value)), () => count(machine.chips));
  value('oversubscription', () => `${elements.oversubscription.value} : 1`, () => `${oversubscribed(machine.network)} : 1`);
  value('tokens', () => tokens(fromSlider(elements.tokens.value, TOKENS)), () => (job.tokens ? tokens(job.tokens) : 'not said'));
  value('batch', () => count(2 ** elements.batch.value), () => count(job.global_batch));
  if (schedule) value('target', () => dateOf(elements.target.value), () => schedule.target);
}

/// Puts the controls where the scenario has them.
function showScenario() {
  const { machine, job, schedule, about } = base.scenario;
  elements.about.textContent = about;
  elements.accelerator.value = machine.accelerator;
  elements.chips.value = toSlider(machine.chips, CHIPS);
  elements.topology.value = machine.network.topology;
  elements.oversubscription.value = oversubscribed(machine.network);
  elements.tokens.value = toSlider(job.tokens || TOKENS.low, TOKENS);
  elements.batch.value = Math.round(Math.log2(job.global_batch));
  elements.model.value = '';
  elements['date-controls'].hidden = !schedule;
  if (schedule) elements.target.value = sliderOfDate(schedule.target);
  showValues();
}

function figure(name, value, note, tone) {
  return h('div', { class: 'figure', 'data-tone': tone }, h('dt', {}, name),
    h('dd', {}, h('div', { class: 'value' }, value), note && h('div', { class: 'note' }, note)));
}

function figures(plan) {
  const { step, run, power, money: cost, schedule, serving } = plan;
  const out = [];
  out.push(plan.training_days
    ? figure('Training run', `${threeFigures(plan.training_days)} days`, run ? `goodput ${percent(run.goodput.p50)} (${percent(run.goodput.p5)} to ${percent(run.goodput.p95)})` : null)
    : figure('Step', `${threeFigures(step.step_time_s)} s`));
  out.push(figure('Speed', `${tokens(step.tokens_per_s)} tokens/s`, `MFU ${percent(step.mfu)}`));
  if (schedule) {
    out.push(figure('Ready by the date', percent(schedule.probability), `half of the draws by ${schedule.p50}, nine in ten by ${schedule.p90}`,
      schedule.probability >= 0.8 ? 'good' : schedule.probability < 0.5 ? 'bad' : null));
  }
  if (power) {
    out.push(figure('Site power', watts(power.draw.peak_facility_w), power.sentence, power.enough ? 'good' : 'bad'));
  }
  if (cost) {
    out.push(figure('Money', money(cost.total_usd), `${money(cost.capital_usd)} to buy, ${money(cost.running_usd_per_year)} a year to run`));
    if (cost.usd_per_training_run) out.push(figure('One training run', money(cost.usd_per_training_run), `${money(cost.usd_per_chip_hour)} a chip-hour`));
  }
  if (serving?.best.feasible) {
    out.push(figure('Served at once', `${tokens(serving.users_served)} users`, `${money(serving.best.usd_per_million_output)} a million output tokens`));
  }
  if (serving && !serving.best.feasible) out.push(figure('Served at once', 'nobody', serving.remedy, 'bad'));
  return out;
}

/// An SVG of the server's as DOM; nothing that could run comes through.
function drawing({ title, svg }) {
  const parsed = new DOMParser().parseFromString(svg, 'image/svg+xml');
  if (parsed.querySelector('parsererror, script, foreignObject')) return null;
  return h('figure', { class: 'drawing' }, h('figcaption', {}, title), document.importNode(parsed.documentElement, true));
}

function show(plan) {
  elements.notice.hidden = true;
  elements.figures.replaceChildren(...figures(plan));
  elements.layout.textContent = `Layout: ${plan.plan.text}. Step ${threeFigures(plan.step.step_time_s)} s, memory ${scaled(plan.step.memory_bytes.total, [' B', ' kB', ' MB', ' GB', ' TB'])} of ${scaled(plan.step.memory_bytes.capacity, [' B', ' kB', ' MB', ' GB', ' TB'])} a chip.`;
  elements.drawings.replaceChildren(...plan.drawings.map(drawing).filter(Boolean));
}

function showError(error) {
  elements.notice.hidden = false;
  elements.notice.textContent = error.message + (error instanceof ApiError && error.status === 0 ? ` ${error.advice}` : '');
}

async function replan() {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  elements.results.dataset.stale = 'true';
  elements.state.textContent = 'Planning';
  const began = performance.now();
  try {
    const plan = await postJson('/v1/plan', { scenario: elements.scenario.value, changes: changes() }, mine.signal);
    if (running !== mine) return;
    if (touched.size === 0) {
      base = plan;
      showScenario();
    }
    show(plan);
    elements.state.textContent = `Planned in ${Math.round(performance.now() - began)} ms`;
  } catch (error) {
    if (error.name === 'AbortError' || running !== mine) return;
    elements.state.textContent = 'Not possible as it stands';
    showError(error);
  } finally {
    if (running === mine) elements.results.dataset.stale = 'false';
  }
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(replan, DEBOUNCE_MS);
}

function chooseScenario() {
  touched = new Set();
  history.replaceState(null, '', `#${elements.scenario.value}`);
  replan();
}

function options(select, entries) {
  select.replaceChildren(...entries.map(([value, text]) => h('option', { value }, text)));
}

async function start() {
  elements.controls.addEventListener('submit', (event) => event.preventDefault());
  try {
    choices = await getJson('/v1/plan');
  } catch (error) {
    showError(error);
    return;
  }
  options(elements.scenario, choices.scenarios.map((one) => [one.name, one.title]));
  options(elements.accelerator, choices.accelerators.map((one) => [one.id, one.name]));
  options(elements.topology, choices.topologies.map((one) => [one.id, one.name]));
  options(elements.model, [['', 'as in the scenario'], ...choices.models.map((one) => [one, one])]);
  const wanted = decodeURIComponent(location.hash.slice(1));
  const first = [wanted, 'autumn-2025'].find((name) => choices.scenarios.some((one) => one.name === name));
  if (first) elements.scenario.value = first;
  elements.scenario.addEventListener('change', chooseScenario);
  elements.reset.addEventListener('click', chooseScenario);
  for (const id of ['accelerator', 'chips', 'topology', 'oversubscription', 'model', 'tokens', 'batch', 'target']) {
    elements[id].addEventListener('input', () => {
      if (!base) return;
      touched.add(id);
      if (id === 'model' && elements.model.value === '') touched.delete(id);
      showValues();
      later();
    });
  }
  replan();
}

start();
