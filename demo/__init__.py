"""What `make up`, `preview` and `down` do: the program in the sandbox, as a newcomer meets it."""
