"""A chat proxy that streams from a model and accounts for every answer."""
