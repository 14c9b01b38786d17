// Prices: the rules in force, a quote, and the import of a list.

import { html, useState } from "../preact.js";
import { request } from "../api.js";
import { go, href } from "../router.js";
import { Button, Field, Loaded, Screen, Section, Table, Tabs, When, useLoad, usePages } from "../ui.js";
import AddRule from "./price_add.js";
import ImportRules from "./price_import.js";
import Quote from "./price_quote.js";
import { rateText } from "./price_rates.js";

const ROWS = 25;
const TABS = [["", "In force"], ["quote", "Quote"], ["import", "Import"]];

export default function Prices({ me, query }) {
  const offered = TABS.filter(([name]) => name !== "import" || me.role === "admin");
  const shown = offered.some(([name]) => name === query.tab) ? query.tab : "";
  return html`<${Screen} title="Prices">
    <${Tabs} label="About prices" of=${offered.map(([name, label]) => ({ label, href: href("prices", { tab: name }), current: name === shown }))} />
    ${shown === "" && html`<${InForce} me=${me} />`}
    ${shown === "quote" && html`<${Quote} />`}
    ${shown === "import" && html`<${ImportRules} />`}
  <//>`;
}

function InForce({ me }) {
  const [adding, setAdding] = useState(false);
  const [model, setModel] = useState("");
  const pages = usePages();
  const list = useLoad(() => request("GET", "pricing", { query: { limit: ROWS, cursor: pages.cursor } }), [pages.cursor]);
  const submitted = (event) => {
    event.preventDefault();
    if (model.trim()) go("prices", model.trim());
  };
  return html`
    <${Section} title="Find a model">
      <form class="inline" role="search" onSubmit=${submitted}>
        <${Field} label="Model or alias" value=${model} onInput=${setModel} data-search />
        <button type="submit" class="primary" disabled=${!model.trim()}>Find</button>
      </form>
    <//>
    <${Section} title="Rules in force" note="Credits for a million tokens, by model."
      actions=${me.role === "admin" && html`<${Button} kind="primary" onClick=${() => setAdding(true)}>Add a rule<//>`}>
      <${Loaded} of=${list}>${({ data, nextCursor }) => html`
        <p>A model that has neither a rule in force nor a built-in price ${data.defaultPrice === undefined ? "is refused." : html`costs <span class="digits">${data.defaultPrice}</span> ${Number(data.defaultPrice) === 1 ? "credit" : "credits"} for 1,000 tokens, the default price.`}</p>
        <${Table} caption="Rules in force" rows=${data.models} pages=${pages} nextCursor=${nextCursor} empty="No rule is in force." columns=${[
          { label: "Model", wide: true, show: (each) => html`<a href=${href("prices", each.modelId)}>${each.modelId}</a>` },
          { label: "Input", number: true, show: (each) => html`<span class="digits">${rateText(each.rates.input)}</span>` },
          { label: "From a cache", number: true, show: (each) => html`<span class="digits">${rateText(each.rates.cachedInput)}</span>` },
          { label: "Output", number: true, show: (each) => html`<span class="digits">${rateText(each.rates.output)}</span>` },
          { label: "More", show: (each) => moreOf(each) },
          { label: "Source", show: (each) => [each.source, each.sourceVersion].filter(Boolean).join(" ") || "–" },
          { label: "Since", show: (each) => html`<${When} at=${each.effectiveFrom} />` },
          { label: "Until", show: (each) => html`<${When} at=${each.effectiveTo} never="no end" />` },
        ]} />`}<//>
    <//>
    ${adding && html`<${AddRule} onDone=${list.reload} onClose=${() => setAdding(false)} />`}`;
}

function moreOf({ tiers = [], variants = {}, aliases = [] }) {
  const parts = [[tiers.length, "tier", "tiers"], [Object.keys(variants).length, "variant", "variants"], [aliases.length, "alias", "aliases"]];
  return parts.filter(([count]) => count).map(([count, one, more]) => `${count} ${count === 1 ? one : more}`).join(", ") || "–";
}
