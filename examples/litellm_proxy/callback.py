"""Who pays for a call: `config.yaml` names `accounting`, and LiteLLM imports it from here."""

from accounting_client.litellm import AccountingCallback

accounting = AccountingCallback(
    # This proxy has one key. It belongs to an application, which names its user in each request ("user": "…").
    # If each user has a key of the proxy, with a user_id, leave this out.
    user="{end_user_id}",
    when_short="shorten",
)
