"""A LiteLLM proxy that accounts for every call."""
