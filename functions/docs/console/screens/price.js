// The prices of a model: now, earlier and later. Administrators add, end and withdraw its rules.

import { html, useState } from "../preact.js";
import { path, request } from "../api.js";
import { Badge, Button, Command, Failed, Field, Figures, Loading, Screen, Section, Table, When, digits, useLoad, usePages } from "../ui.js";
import AddRule from "./price_add.js";
import Quote from "./price_quote.js";
import { RatesOf, rateText } from "./price_rates.js";

const ROWS = 20, SOON = 120_000; // a rule that begins within two minutes cannot be withdrawn

export default function Price({ id, me }) {
  const [open, setOpen] = useState(null);
  const pages = usePages([id]);
  const load = useLoad(() => request("GET", path`pricing/${id}`, { query: { limit: ROWS, cursor: pages.cursor } }), [id, pages.cursor]);
  const price = load.data?.data;
  const unknown = load.error?.code === "MODEL_UNKNOWN";
  const admin = me.role === "admin";
  const close = () => setOpen(null);
  return html`<${Screen} title=${id} kicker="Price" actions=${admin && (price || unknown) && html`<${Button} kind="primary" onClick=${() => setOpen({ add: price ?? { modelId: id } })}>Add a rule<//>`}>
    ${unknown ? html`<${Section} title="Now"><p>This model has neither a rule nor a built-in price, and this service refuses such models.</p><//>`
    : load.error ? html`<${Failed} error=${load.error} again=${load.reload} />` : !price ? html`<${Loading} />` : html`
      <${Now} of=${price} id=${id} />
      <${History} price=${price} pages=${pages} nextCursor=${load.data.nextCursor} act=${admin && setOpen} />
      <${Quote} modelId=${id} />`}
    ${open?.add && html`<${AddRule} modelId=${open.add.modelId} like=${open.add.rates && open.add} onDone=${load.reload} onClose=${close} />`}
    ${open?.end && html`<${End} rule=${open.end} onDone=${load.reload} onClose=${close} />`}
    ${open?.withdraw && html`<${Withdraw} rule=${open.withdraw} onDone=${load.reload} onClose=${close} />`}
  <//>`;
}

function Now({ of, id }) {
  const facts = [
    { label: "In force", value: of.effectiveFrom ? html`since <${When} at=${of.effectiveFrom} />` : !of.rates ? "no price" : of.builtIn ? "its built-in price" : "the default price" },
    of.effectiveFrom && { label: "Until", value: html`<${When} at=${of.effectiveTo} never="no end" />` },
    of.source && { label: "Source", value: [of.source, of.sourceVersion].filter(Boolean).join(" ") },
    of.maxOutputTokens && { label: "Most output tokens", value: digits(of.maxOutputTokens) },
    of.aliases && { label: "Other ids", value: of.aliases.join(", ") },
  ];
  return html`<${Section} title="Now" note=${of.modelId !== id && `${id} is another id of ${of.modelId}.`}>
    <${Figures} small of=${facts} />
    ${of.rates ? html`<${RatesOf} rule=${of} />` : html`<p>No rule is in force, and this service refuses models without a price.</p>`}
  <//>`;
}

// A rule is in force, has not begun, has ended, or is superseded by a newer one.
function stateOf(rule, price) {
  const now = Date.now();
  if (Date.parse(rule.effectiveFrom) > now) return html`<${Badge} tone="warn">future<//>`;
  if (rule.effectiveFrom === price.effectiveFrom) return html`<${Badge} tone="good">in force<//>`;
  return html`<${Badge}>${rule.effectiveTo && Date.parse(rule.effectiveTo) <= now ? "ended" : "superseded"}<//>`;
}

function History({ price, pages, nextCursor, act }) {
  const [rule, setRule] = useState(null);
  const ended = (each) => each.effectiveTo && Date.parse(each.effectiveTo) <= Date.now();
  const withdrawable = (each) => Date.parse(each.effectiveFrom) > Date.now() + SOON;
  return html`<${Section} title="Rules" note="Newest first. Of the rules that have begun and not ended, the newest applies.">
    <${Table} caption="Rules of this model" rows=${price.history} pages=${pages} nextCursor=${nextCursor} empty="This model has no rule." columns=${[
      { label: "From", show: (each) => html`<${When} at=${each.effectiveFrom} />` },
      { label: "Until", show: (each) => html`<${When} at=${each.effectiveTo} never="no end" />` },
      { label: "State", show: (each) => stateOf(each, price) },
      { label: "Input", number: true, show: (each) => html`<span class="digits">${rateText(each.rates.input)}</span>` },
      { label: "Output", number: true, show: (each) => html`<span class="digits">${rateText(each.rates.output)}</span>` },
      { label: "Source", show: (each) => [each.source, each.sourceVersion].filter(Boolean).join(" ") || "–" },
      { label: "", show: (each) => html`<div class="actions">
        <${Button} aria-pressed=${String(rule === each)} onClick=${() => setRule(rule === each ? null : each)}>Rates<//>
        ${act && !ended(each) && html`<${Button} onClick=${() => act({ end: each })}>End<//>`}
        ${act && withdrawable(each) && html`<${Button} kind="danger" onClick=${() => act({ withdraw: each })}>Withdraw<//>`}
      </div>` },
    ]} />
    ${rule && html`<h3>Rates from <${When} at=${rule.effectiveFrom} /></h3><${RatesOf} rule=${rule} caption="Rates of the chosen rule" />`}
  <//>`;
}

function End({ rule, onDone, onClose }) {
  const [at, setAt] = useState("");
  return html`<${Command} title="End a rule of ${rule.modelId}" submit="Set the end" ready=${Boolean(at)} onDone=${onDone} onClose=${onClose}
    send=${() => request("PUT", path`pricing/${rule.modelId}/${rule.effectiveFrom}`, { body: { effectiveTo: new Date(at).toISOString() } })}
    done=${({ data }) => html`The rule ends <${When} at=${data.effectiveTo} />.`}>
    <p>It began, or begins, <${When} at=${rule.effectiveFrom} />. After its end, the newest of the other rules that have begun and not ended applies. If there is none, the model has its built-in price or the default price. A service without a default price refuses models that have no other price.</p>
    <${Field} label="Ends" type="datetime-local" value=${at} onInput=${setAt} required hint="In the time zone of this browser." />
  <//>`;
}

const Withdraw = ({ rule, onDone, onClose }) => html`<${Command} title="Withdraw a rule of ${rule.modelId}" submit="Withdraw" kind="danger" onDone=${onDone} onClose=${onClose}
  send=${() => request("DELETE", path`pricing/${rule.modelId}/${rule.effectiveFrom}`)} done=${() => "The rule is withdrawn: it never comes into force."}>
  <p>The rule that begins <${When} at=${rule.effectiveFrom} /> is removed. Nothing has been priced by it.</p>
<//>`;
