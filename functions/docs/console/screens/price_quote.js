// What a usage costs now, line by line.

import { html, useState } from "../preact.js";
import { request } from "../api.js";
import { Credits, Failed, Field, Figures, Section, Table, digits, wholeNumber } from "../ui.js";
import { nameOfClass, rateText } from "./price_rates.js";

// Field of the canonical usage, its label, and a hint.
const COUNTS = [
  ["inputTokens", "Input tokens"],
  ["cachedInputTokens", "Input from a cache", "part of the input"],
  ["cacheWriteTokens", "Written to a cache", "part of the input"],
  ["cacheWrite1hTokens", "Written for an hour", "part of the input"],
  ["inputAudioTokens", "Audio input", "part of the input"],
  ["outputTokens", "Output tokens"],
  ["reasoningTokens", "Reasoning", "part of the output"],
  ["outputAudioTokens", "Audio output", "part of the output"],
  ["requests", "Requests", "empty: 1"],
  ["webSearches", "Web searches"],
];

const KINDS = [
  ["counts", "Counts by class"],
  ["tokens", "One number of tokens"],
  ["openai", "Usage object of OpenAI chat"],
  ["openai-responses", "Usage object of OpenAI responses"],
  ["anthropic", "Usage object of Anthropic"],
  ["bedrock", "Usage object of Bedrock"],
  ["gemini", "Usage object of Gemini"],
  ["otel", "OpenTelemetry attributes"],
];

const EXAMPLE = '{"prompt_tokens": 182, "completion_tokens": 840, "total_tokens": 1022}';

export default function Quote({ modelId = "" }) {
  const [typed, setTyped] = useState({ modelId, variant: "", kind: "counts", counts: { inputTokens: "1000", outputTokens: "1000" }, tokens: "1000", object: "" });
  const [state, setState] = useState({});
  const change = (part) => setTyped({ ...typed, ...part });
  const answered = state.about === typed; // an answer to an older question is not shown
  const submitted = async (event) => {
    event.preventDefault();
    if (state.busy) return;
    setState({ busy: true });
    try {
      setState({ about: typed, quote: (await request("POST", "credits/calculate", { body: bodyOf(typed) })).data });
    } catch (error) {
      setState({ about: typed, error });
    }
  };
  return html`<${Section} title="Quote" note="What a usage costs at the prices of this moment. Nothing is charged.">
    <form onSubmit=${submitted}>
      <div class="fields">
        <${Field} label="Model" value=${typed.modelId} onInput=${(id) => change({ modelId: id })} required />
        <${Field} label="Variant" value=${typed.variant} onInput=${(variant) => change({ variant })} />
        <${Field} label="Usage as" value=${typed.kind} onInput=${(kind) => change({ kind })} options=${KINDS} />
      </div>
      <${UsageFields} typed=${typed} change=${change} />
      <div class="buttons"><button type="submit" class="primary" disabled=${state.busy}>${state.busy ? "Calculating …" : "Calculate"}</button></div>
    </form>
    ${answered && state.error && html`<${Failed} error=${state.error} />`}
    ${answered && state.quote && html`<${Explained} of=${state.quote} />`}
  <//>`;
}

function UsageFields({ typed, change }) {
  const { kind, counts } = typed;
  if (kind === "tokens") return html`<${Field} label="Tokens" value=${typed.tokens} onInput=${(tokens) => change({ tokens })} inputmode="numeric" hint="They cost the higher of the rates for input and output." required />`;
  if (kind !== "counts") return html`<${Field} label="Usage object" value=${typed.object} onInput=${(object) => change({ object })} lines="6" placeholder=${kind === "openai" ? EXAMPLE : ""} hint="The JSON as the provider sent it." required />`;
  return html`<div class="fields">${COUNTS.map(([name, label, hint]) => html`<${Field} key=${name} label=${label} hint=${hint} inputmode="numeric" value=${counts[name] ?? ""}
    onInput=${(text) => change({ counts: { ...counts, [name]: text } })} />`)}</div>`;
}

// The body of the request. Throws an Error if a typed value is wrong.
function bodyOf({ modelId, variant, kind, counts, tokens, object }) {
  const asked = { modelId: modelId.trim(), variant: variant.trim() || undefined };
  if (kind === "tokens") return { ...asked, tokens: count("Tokens", tokens) };
  if (kind !== "counts") return { ...asked, usage: parsed(object), usageFormat: kind };
  const typed = COUNTS.filter(([name]) => counts[name]?.trim());
  return { ...asked, usage: Object.fromEntries(typed.map(([name, label]) => [name, count(label, counts[name])])) };
}

function count(label, text) {
  const number = wholeNumber(text);
  if (Number.isNaN(number)) throw new Error(`${label}: “${text}” is not a whole number.`);
  return number;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("The usage object is not JSON.");
  }
}

function Explained({ of }) {
  const lines = of.lines ?? [{ class: "tokens", tokens: of.tokens, creditsPerMillion: null, credits: null }];
  return html`
    <${Figures} of=${[
      { label: "It costs", value: html`<${Credits} of=${of.credits} /> credits`, note: "rounded up once" },
      { label: "Tokens", value: html`<${Credits} of=${of.tokens} />` },
      of.tier !== undefined && { label: "Context tier", value: `above ${digits(of.tier)}`, note: "input tokens" },
      { label: "Price", value: priceOf(of) },
    ]} />
    ${of.lines ? html`<${Table} caption="Line by line" hidden=${false} rows=${lines} empty="This usage costs nothing." columns=${[
      { label: "Class", show: (line) => nameOfClass(line.class) },
      { label: "Count", number: true, show: (line) => html`<${Credits} of=${line.tokens} />` },
      { label: "Credits for a million", number: true, show: (line) => html`<span class="digits">${rateText(line.creditsPerMillion)}</span>` },
      { label: "Credits, exact", number: true, show: (line) => html`<span class="digits">${rateText(line.credits)}</span>` },
    ]} />` : html`<p class="quiet">${digits(of.tokens)} tokens at ${of.pricePerThousandTokens} credits for 1,000.</p>`}`;
}

function priceOf({ ruleId, lines }) {
  if (ruleId) return html`<code>${ruleId}</code>`;
  return lines ? "no rule in force" : "–";
}
