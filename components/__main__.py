"""The component as a Pulumi package: what the engine starts for programs in other languages (PulumiPlugin.yaml)."""

from aws_access_keys.provider import main

if __name__ == "__main__":
    main()
