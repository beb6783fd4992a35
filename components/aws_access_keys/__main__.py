"""`python -m aws_access_keys` is the command `access-keys`."""

from aws_access_keys.cli import main

main()
