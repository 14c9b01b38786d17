// The rates of a price rule, shown class by class, and typed in.

import { html } from "../preact.js";
import { Button, Field, Table, digits } from "../ui.js";

// Class, its label, and the unit of its rate.
export const CLASSES = [
  ["input", "Input", "1M tokens"],
  ["cachedInput", "Input from a cache", "1M tokens"],
  ["cacheWrite", "Written to a cache", "1M tokens"],
  ["cacheWrite1h", "Written for an hour", "1M tokens"],
  ["inputAudio", "Audio input", "1M tokens"],
  ["output", "Output", "1M tokens"],
  ["reasoning", "Reasoning", "1M tokens"],
  ["outputAudio", "Audio output", "1M tokens"],
  ["request", "Requests", "1,000 requests"],
  ["webSearch", "Web searches", "1,000 searches"],
];

const TIERS = 4;

export const nameOfClass = (wanted) => CLASSES.find(([name]) => name === wanted)?.[1] ?? wanted;

// A rate is an exact decimal, as a text: it is never a number here.
export const rateText = (rate) => (rate === undefined ? "–" : rate.replace(/\B(?=(\d{3})+(?=\.|$))(?<!\.\d*)/g, ","));

// One row for each class that the rule names, one column for the base, each tier and each variant.
export function RatesOf({ rule, caption = "Rates" }) {
  const cards = [["Base", rule], ...Object.entries(rule.variants ?? {}).map(([name, card]) => [`Variant ${name}`, card])];
  const sets = cards.flatMap(([name, card]) => [
    [name, card.rates],
    ...(card.tiers ?? []).map((tier) => [`${name === "Base" ? "Above" : `${name} above`} ${digits(tier.aboveInputTokens)} input tokens`, tier.rates]),
  ]);
  const named = CLASSES.filter(([name]) => sets.some(([, rates]) => rates[name] !== undefined));
  return html`<${Table} caption=${caption} rows=${named} columns=${[
    { label: "Class", show: ([, label]) => label },
    ...sets.map(([label, rates]) => ({ label, number: true, show: ([name]) => html`<span class="digits">${rateText(rates[name])}</span>` })),
    { label: "Credits for", show: ([, , unit]) => unit },
  ]} />`;
}

// Inputs for the rates of one set. `rates` has the typed texts by class.
export function RatesFields({ rates, change, required = [] }) {
  return html`<div class="fields">${CLASSES.map(([name, label, unit]) => html`<${Field} key=${name} label=${label} hint="for ${unit}" inputmode="decimal"
    value=${rates[name] ?? ""} onInput=${(text) => change({ ...rates, [name]: text })} required=${required.includes(name)} />`)}</div>`;
}

// Inputs for the tiers: each has a threshold and rates.
export function TiersFields({ tiers, change }) {
  const set = (at, part) => change(tiers.map((tier, each) => (each === at ? { ...tier, ...part } : tier)));
  return html`
    ${tiers.map((tier, at) => html`<fieldset key=${at}>
      <legend>Tier ${at + 1}: rates of requests with a larger input</legend>
      <${Field} label="Above input tokens" value=${tier.above} onInput=${(above) => set(at, { above })} inputmode="numeric" required />
      <${RatesFields} rates=${tier.rates} change=${(rates) => set(at, { rates })} />
      <div class="buttons"><${Button} onClick=${() => change(tiers.filter((_, each) => each !== at))}>Remove this tier<//></div>
    </fieldset>`)}
    ${tiers.length < TIERS && html`<div><${Button} onClick=${() => change([...tiers, { above: "", rates: {} }])}>Add a tier<//></div>`}`;
}

// The rates that were typed, as the routes take them: only classes with a text.
export const typedRates = (rates) => Object.fromEntries(Object.entries(rates).map(([name, text]) => [name, text.trim().replaceAll(",", "")]).filter(([, text]) => text));
