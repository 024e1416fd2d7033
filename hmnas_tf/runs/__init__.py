"""One search: what is checked before it, the run itself, what it publishes, and how its result is used."""
