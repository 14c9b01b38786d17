"""An agent whose run has a budget."""
