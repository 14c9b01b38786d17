"""The callback that `config.yaml` names. It says which user pays for a call."""

from accounting_client.litellm import AccountingCallback

accounting = AccountingCallback(
    # An application uses the proxy's only key, and names its user in each request ("user": "…").
    # If instead each user has a key of the proxy, with a user_id, leave out the next line.
    user="{end_user_id}",
    when_short="shorten",
)
