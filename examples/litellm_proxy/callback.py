"""The callback that `config.yaml` names. It says which user pays for a call."""

from accounting_client.litellm import AccountingCallback

accounting = AccountingCallback(
    # This example's application calls the proxy with one key, and names its user in each request ("user": "…").
    # If each of your users has their own key of the proxy, with a user_id, leave out the next line.
    user="{end_user_id}",
    when_short="shorten",
)
