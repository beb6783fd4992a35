"""A program of one's own: the components that `own:components` describes, and nothing else. It exports nothing."""

import json

import pulumi
from aws_access_keys import ProgrammaticAccess

for name, args in json.loads(pulumi.Config("own").require("components")).items():
    ProgrammaticAccess(name, args)
