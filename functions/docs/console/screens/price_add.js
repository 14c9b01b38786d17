// The dialog that adds a price rule.

import { html, useState } from "../preact.js";
import { request } from "../api.js";
import { Command, Field, When, wholeNumber } from "../ui.js";
import { RatesFields, TiersFields, typedRates } from "./price_rates.js";

const EMPTY = { rates: {}, tiers: [], variants: "", aliases: "", maxOutputTokens: "", from: "", to: "" };

// `like` is a rule whose rates, tiers, variants and aliases the form begins with.
export default function AddRule({ modelId = "", like, onDone, onClose }) {
  const [model, setModel] = useState(modelId);
  const [typed, setTyped] = useState(() => (like ? typedAs(like) : EMPTY));
  const change = (part) => setTyped({ ...typed, ...part });
  const field = (name, label, more) => html`<${Field} label=${label} value=${typed[name]} onInput=${(text) => change({ [name]: text })} ...${more} />`;
  const variants = variantsOf(typed.variants);
  const { input, output } = typedRates(typed.rates);
  return html`<${Command} title="Add a price rule" submit="Add the rule" ready=${Boolean(model.trim() && input && output && variants)} onDone=${onDone} onClose=${onClose}
    send=${(key) => request("POST", "pricing", { body: bodyOf(model, typed, variants), idempotent: key })}
    done=${({ data }) => html`${data.modelId} has a new price from <${When} at=${data.effectiveFrom} />${data.effectiveTo && html` until <${When} at=${data.effectiveTo} />`}. Processes that know the older rule use it for up to 60 seconds more.`}>
    <${Field} label="Model" value=${model} onInput=${setModel} required autofocus=${!modelId} />
    <p class="quiet">Credits by class. A class without a rate has the rate of the class that it is part of. Requests and searches without a rate are free.</p>
    <${RatesFields} rates=${typed.rates} change=${(rates) => change({ rates })} required=${["input", "output"]} />
    <${TiersFields} tiers=${typed.tiers} change=${(tiers) => change({ tiers })} />
    ${field("from", "Begins", { type: "datetime-local", hint: "In the time zone of this browser. Empty: now." })}
    ${field("to", "Ends", { type: "datetime-local", hint: "Empty: it has no end." })}
    ${field("aliases", "Other ids of the model", { hint: "Separated by spaces." })}
    ${field("maxOutputTokens", "Most output tokens of a request", { inputmode: "numeric", hint: "For callers that set no limit." })}
    ${field("variants", "Variants", { lines: 2, hint: variants ? 'As JSON: {"batch": {"input": "1500", "output": "7500"}}' : "This is not a JSON object." })}
  <//>`;
}

function typedAs({ rates, tiers = [], variants, aliases = [], maxOutputTokens }) {
  return {
    ...EMPTY, rates, aliases: aliases.join(" "), maxOutputTokens: String(maxOutputTokens ?? ""),
    tiers: tiers.map((tier) => ({ above: String(tier.aboveInputTokens), rates: tier.rates })),
    variants: variants ? JSON.stringify(variants) : "",
  };
}

// The variants that were typed; null if the text is not a JSON object.
function variantsOf(text) {
  try {
    const variants = JSON.parse(text || "{}");
    return variants && typeof variants === "object" && !Array.isArray(variants) ? variants : null;
  } catch {
    return null;
  }
}

// A text that is not a number is sent as it was typed: the refusal names its field.
const number = (text) => (Number.isNaN(wholeNumber(text)) ? text : wholeNumber(text));
const instant = (local) => (local ? new Date(local).toISOString() : undefined);

function bodyOf(model, typed, variants) {
  const aliases = typed.aliases.split(/[\s,]+/).filter(Boolean);
  return {
    modelId: model.trim(),
    rates: typedRates(typed.rates),
    tiers: typed.tiers.length ? typed.tiers.map(({ above, rates }) => ({ aboveInputTokens: number(above), rates: typedRates(rates) })) : undefined,
    variants: Object.keys(variants).length ? variants : undefined,
    aliases: aliases.length ? aliases : undefined,
    maxOutputTokens: typed.maxOutputTokens.trim() ? number(typed.maxOutputTokens) : undefined,
    effectiveFrom: instant(typed.from),
    effectiveTo: instant(typed.to),
  };
}
