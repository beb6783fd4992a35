"""A program of one's own: the components that `own:components` describes, below the one that `own:parent` names, if
it names one. It exports nothing."""

import json

import pulumi
from aws_access_keys import ProgrammaticAccess

config = pulumi.Config("own")
name = config.get("parent")
parent = pulumi.ComponentResource("own:index:Team", name) if name else None
for name, args in json.loads(config.require("components")).items():
    ProgrammaticAccess(name, args, pulumi.ResourceOptions(parent=parent))
