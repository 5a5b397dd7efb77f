"""What the loop trains: a task knows its parameters' init, its loss, and what it evaluates."""
