"""What `make up`, `make preview` and `make down` do: the program in the sandbox, as a newcomer meets it."""
