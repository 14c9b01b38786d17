// Would the next call pass? Shows the service's own decision, and what every limit has left. Nothing is held.

import { html, useState } from "../preact.js";
import { request } from "../api.js";
import { Badge, Credits, Failed, Field, Section, Table, When, digits, wholeNumber } from "../ui.js";
import { nameOfSubject } from "./account_budgets.js";

const KINDS = [["usage", "Input and output tokens"], ["number", "One number of tokens"]];
const EMPTY = { modelId: "", kind: "usage", input: "1000", output: "1000", tokens: "1000", userId: "", accountId: "", variant: "", keyId: "", runId: "" };

export default function Preview({ account }) {
  const [typed, setTyped] = useState(EMPTY);
  const [state, setState] = useState({});
  const field = (name, label, more) => html`<${Field} label=${label} value=${typed[name]} onInput=${(text) => setTyped({ ...typed, [name]: text })} ...${more} />`;
  const count = (name, label) => field(name, label, { inputmode: "numeric", required: true });
  const answered = state.about === typed; // an answer to an older question is not shown
  const submitted = async (event) => {
    event.preventDefault();
    if (state.busy) return;
    setState({ busy: true });
    try {
      setState({ about: typed, answer: (await request("POST", "streaming-sessions/preview", { body: bodyOf(typed, account) })).data });
    } catch (error) {
      setState({ about: typed, error });
    }
  };
  return html`<${Section} title="Would the next call pass?" note="The decision that the service would make now. Nothing is held or charged.">
    <form onSubmit=${submitted}>
      <div class="fields">
        ${field("modelId", "Model", { required: true })}
        ${field("kind", "Tokens as", { options: KINDS })}
        ${typed.kind === "usage" ? html`${count("input", "Input tokens")}${count("output", "Output tokens")}` : count("tokens", "Tokens")}
        ${account.userId ? field("accountId", "Account that pays", { placeholder: account.id, hint: "org: and an organization's id" })
          : field("userId", "Member who calls", { required: !account.role, hint: `Id or e-mail address.${account.role ? " Empty: you." : ""}` })}
        ${field("variant", "Price variant")}
        ${field("keyId", "With the API key", { hint: "Its id" })}
        ${field("runId", "In the run", { hint: "Its id" })}
      </div>
      <div class="buttons"><button type="submit" class="primary" disabled=${state.busy || !typed.modelId.trim()}>${state.busy ? "Asking …" : "Would it pass?"}</button></div>
    </form>
    ${answered && state.error && html`<${Failed} error=${state.error} />`}
    ${answered && state.answer && html`<${Answer} of=${state.answer} />`}
  <//>`;
}

function bodyOf({ kind, input, output, tokens, ...typed }, account) {
  const texts = Object.fromEntries(Object.entries(typed).map(([name, text]) => [name, text.trim()]).filter(([, text]) => text));
  const estimate = kind === "number" ? { estimatedTokens: number(tokens) } : { estimatedUsage: { inputTokens: number(input), outputTokens: number(output) } };
  return account.userId ? { ...texts, ...estimate, userId: account.userId } : { ...texts, ...estimate, accountId: account.id };
}

// A text that is not a number is sent as it was typed: the refusal names its field.
const number = (text) => (Number.isNaN(wholeNumber(text)) ? text : wholeNumber(text));

function Answer({ of }) {
  return html`
    <div class="notice ${of.passes ? "" : "failed"}" role="status">
      <p><strong>${of.passes ? "It would pass." : "It would not pass."}</strong> ${of.passes
        ? `${digits(of.requiredCredits)} credits would be held: the estimate of ${digits(of.estimatedCredits)} and a buffer.` : of.reason.message}</p>
      ${of.reason && html`<p class="quiet"><code>${of.reason.code}</code></p>`}
    </div>
    ${of.limits.length > 0 && html`<${Table} caption="Limits" hidden=${false} rows=${of.limits} columns=${[
      { label: "Limit", wide: true, show: (each) => nameOfLimit(each.limit) },
      { label: "Result", show: (each) => (each.passes ? html`<${Badge} tone="good">passes<//>` : html`<${Badge} tone="bad">too little<//>`) },
      { label: "Needed", number: true, show: (each) => html`<${Credits} of=${each.requiredCredits} />` },
      { label: "Left", number: true, show: (each) => html`<${Credits} of=${each.remainingCredits} />` },
      { label: "Of", number: true, show: (each) => html`<${Credits} of=${each.limitCredits} />` },
      { label: "Resets", show: (each) => html`<${When} at=${each.resetsAt} never=${each.limit === "balance" ? "–" : "never"} />` },
    ]} />`}`;
}

function nameOfLimit(limit) {
  if (limit === "balance") return "Balance";
  return limit.startsWith("run:") ? `Run ${limit.slice(4)}` : nameOfSubject(limit);
}
