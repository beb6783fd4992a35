"""What `make up`, `preview`, `down` and `shell` do: the program in the sandbox, as a newcomer meets it."""
