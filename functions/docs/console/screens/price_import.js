// A list of price rules: its difference from the stored rules is shown before it is imported.

import { html, useRef, useState } from "../preact.js";
import { newKey, request } from "../api.js";
import { Button, Done, Failed, Field, Section, Table, When, digits } from "../ui.js";
import { rulesIn } from "./price_list.js";
import { CLASSES, rateText } from "./price_rates.js";

export default function ImportRules() {
  const [text, setText] = useState("");
  const [state, setState] = useState({});
  const busy = useRef(false);
  const once = async (work) => {
    if (busy.current) return;
    busy.current = true;
    setState((before) => ({ ...before, busy: true, error: null }));
    await work().catch((error) => setState((before) => ({ ...before, about: text, error })));
    setState((before) => ({ ...before, busy: false }));
    busy.current = false;
  };
  const compare = (event) => {
    event.preventDefault();
    return once(async () => {
      setState({ busy: true });
      const rules = rulesIn(text);
      const { data } = await request("POST", "pricing/import", { body: { rules, dryRun: true } });
      setState({ about: text, rules, key: newKey(), difference: data });
    });
  };
  const write = () => once(async () => {
    const { data, requestId } = await request("POST", "pricing/import", { body: { rules: state.rules }, idempotent: state.key });
    setState({ difference: data, requestId });
  });
  // A comparison is hidden once the text has changed. The result of an import stays.
  const { difference: found, requestId, error } = state.about === text || state.requestId ? state : {};
  const changes = found && found.added.length + found.changed.length;
  return html`<${Section} title="Import price rules" note="A list as JSON, or as CSV whose first line names the fields. Nothing is written before you have seen the difference.">
    <form onSubmit=${compare}>
      <${Field} label="Rules" value=${text} onInput=${setText} lines="8" required
        hint='[{"modelId": "acme/chat", "rates": {"input": "3000", "output": "15000"}}] or modelId,input,output' />
      <div class="buttons"><button type="submit" class=${found ? "" : "primary"} disabled=${state.busy || !text.trim()}>Show the difference</button></div>
    </form>
    ${error && html`<${Failed} error=${error} />`}
    ${requestId && html`<${Done} requestId=${requestId}>Imported: ${digits(found.added.length)} added, ${digits(found.changed.length)} changed, ${digits(found.unchanged.length)} unchanged.<//>`}
    ${found && html`<${Difference} of=${found} applied=${Boolean(requestId)} />`}
    ${found && !requestId && changes > 0 && html`<div class="buttons">
      <${Button} kind="primary" busy=${state.busy} onClick=${write}>Import ${changes === 1 ? "1 rule" : `${digits(changes)} rules`}<//>
    </div>`}
  <//>`;
}

function Difference({ of, applied }) {
  const rows = [...of.added.map((after) => ({ modelId: after.modelId, after })), ...of.changed];
  const same = of.unchanged.length;
  return html`
    <${Table} caption=${applied ? "What changed" : "What the import would change"} hidden=${false} rows=${rows} empty="The list changes nothing." columns=${[
      { label: "Model", wide: true, show: (each) => each.modelId },
      { label: "Change", show: (each) => (each.before ? "changed" : "added") },
      { label: "From", show: (each) => html`<${When} at=${each.after.effectiveFrom} />` },
      { label: "What differs", wide: true, show: (each) => html`<ul>${differences(each).map(([label, before, after]) => html`
        <li><span class="quiet">${label}</span> <span class="digits">${each.before && `${before} → `}<strong>${after}</strong></span></li>`)}</ul>` },
    ]} />
    ${same > 0 && html`<p class="quiet">${same === 1 ? "1 model stays" : `${digits(same)} models stay`} unchanged.</p>`}`;
}

const PARTS = [["tiers", "Tiers"], ["variants", "Variants"], ["aliases", "Other ids"], ["maxOutputTokens", "Most output tokens"], ["effectiveTo", "Ends"]];
const NONE = "–";

const rateOf = (rule, name) => rateText(rule?.rates[name]);
const partOf = (rule, name) => (rule?.[name] ? JSON.stringify(rule[name]) : NONE);

// What differs between two rules, or what a new rule has: label, before, after.
function differences({ before, after }) {
  const all = [
    ...CLASSES.map(([name, label]) => [label, rateOf(before, name), rateOf(after, name)]),
    ...PARTS.map(([name, label]) => [label, partOf(before, name), partOf(after, name)]),
  ];
  return all.filter(([, one, other]) => one !== other);
}
