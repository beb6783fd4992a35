"""`python scripts/refresh_managed_policies.py`: rewrite managed_policies.txt from what the installed packages know.

pulumi-aws lists AWS managed policies for its users, moto carries a catalogue of AWS's own answers; each has some that
the other lacks. Run it after raising either version, and read the difference before you commit it.
"""

import json
import sys
from pathlib import Path

HEADER = """\
# AWS managed policies: path and name below arn:PARTITION:iam::aws:policy/, one per line.
# Written by `python scripts/refresh_managed_policies.py`; do not edit.
"""


def main() -> None:
    from moto.iam.aws_managed_policies import aws_managed_policies_data
    from pulumi_aws.iam import ManagedPolicy

    known = {policy.value.split(":policy/", 1)[1] for policy in ManagedPolicy}
    catalogue: dict[str, dict[str, str]] = json.loads(aws_managed_policies_data)
    known |= {details["Path"].lstrip("/") + name for name, details in catalogue.items()}
    target = Path("components/aws_access_keys/rules/managed_policies.txt")
    target.write_text(HEADER + "\n".join(sorted(known)) + "\n", "utf-8")
    sys.stdout.write(f"{len(known)} policies written to {target.name}\n")


if __name__ == "__main__":
    main()
