"""`python -m pulumi_sandbox` is `pulumi-sandbox`."""

from pulumi_sandbox.cli import main

main()
