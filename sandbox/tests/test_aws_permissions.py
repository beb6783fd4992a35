"""Which permissions a request needs: exactly these let it pass, and each one of them is needed."""

import json
from typing import Any

from aws_support import REGION, Strict, refusal


def test_a_bucket_policy_that_denies_is_worded_as_by_aws(strict: Strict) -> None:
    s3 = strict.client("s3", strict.user_with_key("denied", "AmazonS3FullAccess"))
    s3.create_bucket(Bucket="closed-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    deny: dict[str, Any] = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject"}
    document = {"Version": "2012-10-17", "Statement": [deny | {"Resource": "arn:aws:s3:::closed-bucket/*"}]}
    s3.put_bucket_policy(Bucket="closed-bucket", Policy=json.dumps(document))
    assert refusal(s3.put_object, Bucket="closed-bucket", Key="k", Body=b"x") == (
        "AccessDenied",
        "User: arn:aws:iam::123456789012:user/denied is not authorized to perform: s3:PutObject on resource: "
        '"arn:aws:s3:::closed-bucket/k" with an explicit deny in a resource-based policy',
        403,
    )
    assert strict.control.calls()[-1].code == "AccessDenied"
