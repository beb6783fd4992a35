"""An AWS account and a Pulumi engine on this machine, so that Pulumi programs run without a cloud."""
