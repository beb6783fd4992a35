import pytest
from aws_access_keys.rules.policies import PolicyError, managed_policies, partition_of, policy_arn, policy_key


@pytest.mark.parametrize(
    ("policy", "partition", "arn"),
    [
        ("AmazonS3FullAccess", "aws", "arn:aws:iam::aws:policy/AmazonS3FullAccess"),
        ("IAMFullAccess", "aws-cn", "arn:aws-cn:iam::aws:policy/IAMFullAccess"),
        ("ViewOnlyAccess", "aws-us-gov", "arn:aws-us-gov:iam::aws:policy/job-function/ViewOnlyAccess"),
        ("AWSLambdaBasicExecutionRole", "aws", "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"),
        ("arn:aws:iam::aws:policy/BrandNewAccess", "aws", "arn:aws:iam::aws:policy/BrandNewAccess"),
        ("arn:aws:iam::123456789012:policy/team/Own", "aws", "arn:aws:iam::123456789012:policy/team/Own"),
    ],
)
def test_a_policy_resolves_to_its_arn_with_the_right_path_and_partition(policy: str, partition: str, arn: str) -> None:
    assert policy_arn(policy, partition) == arn, f"{policy} in {partition} is {arn}"


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("S3FullAccess", "Did you mean 'AmazonS3FullAccess'?"),
        ("amazons3fullaccess", "Did you mean 'AmazonS3FullAccess'?"),
        ("AmazonS3ReadOnly", "Did you mean 'AmazonS3ReadOnlyAccess'?"),
        ("zzzzzz", "or is newer than this program, by its ARN"),
        ("arn:aws:s3:::bucket", "is not the ARN of an IAM managed policy"),
        ("arn:aws:iam::aws:policy/", "is not the ARN of an IAM managed policy"),
        ("arn:aws-cn:iam::aws:policy/IAMFullAccess", "belongs to partition aws-cn"),
        ("AWSSupportServiceRolePolicy", "service-linked role"),
        ("arn:aws:iam::aws:policy/aws-service-role/AWSSupportServiceRolePolicy", "service-linked role"),
    ],
)
def test_a_policy_that_cannot_be_attached_is_refused_with_advice(policy: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy_arn(policy)
    assert says in str(caught.value), f"the refusal of {policy} names the cure"


def test_the_list_of_managed_policies_is_whole() -> None:
    known = managed_policies()
    assert len(known) > 1500, "the list has AWS's catalogue, not a sample of it"
    assert all(path.rsplit("/", 1)[-1] == name for name, path in known.items()), "each name is the end of its path"


def test_a_name_and_its_arn_give_the_attachment_the_same_key() -> None:
    assert policy_key(policy_arn("IAMFullAccess")) == policy_key("arn:aws:iam::aws:policy/IAMFullAccess")
    keys = {policy_key(f"arn:aws:iam::{owner}:policy/{path}X") for owner in ("aws", "1" * 12) for path in ("", "a/")}
    assert len(keys) == 4, "owner and path both tell policies of one name apart"
    assert not any("/" in key for key in keys), "a key has no slash, which separates the parts of a resource's name"


@pytest.mark.parametrize(
    ("region", "partition"),
    [("ap-northeast-2", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("", "aws")],
)
def test_a_region_tells_its_partition(region: str, partition: str) -> None:
    assert partition_of(region) == partition
