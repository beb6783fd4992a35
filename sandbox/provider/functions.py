"""Functions: what a program can ask AWS without owning it."""

import json
from typing import Any

from . import limits, policy_document, tags
from .aws import Aws, all_pages
from .schema import Function, Property
from .values import ProviderError, State


def _caller_identity(aws: Aws, arguments: State) -> State:
    caller = aws.sts.get_caller_identity()
    return {"id": caller["Account"], "accountId": caller["Account"], "arn": caller["Arn"], "userId": caller["UserId"]}


def _partition(aws: Aws, arguments: State) -> State:
    place = aws.endpoint.place(aws.region)
    return {
        "id": place.partition,
        "partition": place.partition,
        "dnsSuffix": place.dns_suffix,
        "reverseDnsPrefix": ".".join(reversed(place.dns_suffix.split("."))),
    }


def _region(aws: Aws, arguments: State) -> State:
    region = arguments.get("region") or arguments.get("name") or aws.region
    place = aws.endpoint.place(region)
    return {
        "id": region,
        "region": region,
        "name": region,
        "description": place.description,
        "endpoint": f"ec2.{region}.{place.dns_suffix}",
    }


def _policy(aws: Aws, arguments: State) -> State:
    arn = arguments.get("arn") or _arn_of(aws, arguments)
    policy = aws.iam.get_policy(PolicyArn=arn)["Policy"]
    version = aws.iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
    return {
        **arguments,
        "id": policy["Arn"],
        "arn": policy["Arn"],
        "name": policy["PolicyName"],
        "path": policy["Path"],
        "policyId": policy["PolicyId"],
        "description": policy.get("Description", ""),
        "attachmentCount": policy["AttachmentCount"],
        "policy": json.dumps(version["Document"]),
        "tags": tags.from_list(policy.get("Tags")),
    }


def _arn_of(aws: Aws, arguments: State) -> str:
    """The ARN of the one policy of a name, sought - as the real provider does - in the list of all policies."""
    name = arguments.get("name")
    if not name:
        raise ProviderError("getPolicy needs an arn or a name")
    where = {"PathPrefix": arguments["pathPrefix"]} if arguments.get("pathPrefix") else {}
    found = [
        policy["Arn"]
        for policy in all_pages(aws.iam, "list_policies", "Policies", **where)
        if policy["PolicyName"] == name
    ]
    if len(found) != 1:
        raise ProviderError(
            f"getPolicy found {len(found)} policies of the name {name!r}, and needs exactly one"
            + (f": {', '.join(found)}; give an arn or a pathPrefix" if found else "")
        )
    return found[0]


def _user(aws: Aws, arguments: State) -> State:
    user = aws.iam.get_user(UserName=arguments["userName"])["User"]
    return {
        "id": user["UserId"],
        "userId": user["UserId"],
        "userName": user["UserName"],
        "arn": user["Arn"],
        "path": user["Path"],
        "tags": tags.from_list(user.get("Tags")),
        "permissionsBoundary": user.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""),
    }


def _group(aws: Aws, arguments: State) -> State:
    name = arguments["groupName"]
    group = aws.iam.get_group(GroupName=name, MaxItems=1)["Group"]
    users = [
        {"arn": user["Arn"], "path": user["Path"], "userId": user["UserId"], "userName": user["UserName"]}
        for user in all_pages(aws.iam, "get_group", "Users", GroupName=name)
    ]
    return {
        "id": group["GroupId"],
        "groupId": group["GroupId"],
        "groupName": group["GroupName"],
        "arn": group["Arn"],
        "path": group["Path"],
        "users": users,
    }


def _access_keys(aws: Aws, arguments: State) -> State:
    user = arguments["user"]
    keys = [
        {
            "accessKeyId": key["AccessKeyId"],
            "status": key["Status"],
            "createDate": f"{key['CreateDate']:%Y-%m-%dT%H:%M:%SZ}",
        }
        for key in all_pages(aws.iam, "list_access_keys", "AccessKeyMetadata", UserName=user)
    ]
    return {"id": user, "user": user, "accessKeys": keys}


def _policy_document(aws: Aws, arguments: State) -> State:
    return policy_document.render(arguments)


def _statements(value: Any) -> str | None:
    return None if isinstance(value, list) else "expected a list of statements"


FUNCTIONS = [
    Function("aws:index/getCallerIdentity:getCallerIdentity", {"id": Property()}, _caller_identity),
    Function("aws:index/getPartition:getPartition", {"id": Property()}, _partition),
    Function("aws:index/getRegion:getRegion", {"id": Property(), "region": Property(), "name": Property()}, _region),
    Function(
        "aws:iam/getPolicy:getPolicy",
        {
            "arn": Property(rule=limits.arn, conflicts=("name", "pathPrefix")),
            "name": Property(),
            "pathPrefix": Property(),
            "tags": Property("map"),
        },
        _policy,
    ),
    Function("aws:iam/getUser:getUser", {"userName": Property(required=True), "tags": Property("map")}, _user),
    Function("aws:iam/getGroup:getGroup", {"groupName": Property(required=True)}, _group),
    Function("aws:iam/getAccessKeys:getAccessKeys", {"user": Property(required=True)}, _access_keys),
    Function(
        "aws:iam/getPolicyDocument:getPolicyDocument",
        {
            "statements": Property("blocks", rule=_statements),
            "policyId": Property(),
            "version": Property(rule=limits.one_of("2012-10-17", "2008-10-17")),
            "sourcePolicyDocuments": Property("list"),
            "overridePolicyDocuments": Property("list"),
        },
        _policy_document,
    ),
]
