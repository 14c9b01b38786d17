"""A chat proxy that streams from a model and accounts every answer."""
