"""A LiteLLM proxy that accounts every call."""
