"""Functions: what a program can ask AWS without owning it."""

from pulumi_sandbox.provider.clients import Aws
from pulumi_sandbox.provider.schema import Function, Property
from pulumi_sandbox.provider.values import State


def _caller_identity(aws: Aws, arguments: State) -> State:
    caller = aws.sts.get_caller_identity()
    return {"id": caller["Account"], "accountId": caller["Account"], "arn": caller["Arn"], "userId": caller["UserId"]}


def _partition(aws: Aws, arguments: State) -> State:
    info = aws.endpoint.region_info(aws.region)
    return {
        "id": info.partition,
        "partition": info.partition,
        "dnsSuffix": info.dns_suffix,
        "reverseDnsPrefix": ".".join(reversed(info.dns_suffix.split("."))),
    }


def _region(aws: Aws, arguments: State) -> State:
    region = arguments.get("region") or arguments.get("name") or aws.region
    info = aws.endpoint.region_info(region)
    return {
        "id": region,
        "region": region,
        "name": region,
        "description": info.description,
        "endpoint": f"ec2.{region}.{info.dns_suffix}",
    }


FUNCTIONS = [
    Function("aws:index/getCallerIdentity:getCallerIdentity", {"id": Property()}, _caller_identity),
    Function("aws:index/getPartition:getPartition", {"id": Property()}, _partition),
    Function("aws:index/getRegion:getRegion", {"id": Property(), "region": Property(), "name": Property()}, _region),
]
