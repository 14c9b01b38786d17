"""An agent that stops when the credits of its run are spent."""
