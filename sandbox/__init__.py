"""An AWS account and a Pulumi engine on this machine, so that the whole program runs without a cloud.

The program (`__main__.py`, `components/`, `settings/`, `rules/`) never imports this package.
"""
