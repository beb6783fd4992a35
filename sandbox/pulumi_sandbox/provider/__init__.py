"""The emulated provider: what pulumi-resource-aws does, over boto3, against one endpoint only."""
