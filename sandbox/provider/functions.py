"""Functions: what a program can ask AWS without owning it."""
from __future__ import annotations

from .aws import Aws
from .schema import Function
from .values import State


def _caller_identity(aws: Aws, arguments: State) -> State:
    caller = aws.sts.get_caller_identity()
    return {"id": caller["Account"], "accountId": caller["Account"], "arn": caller["Arn"], "userId": caller["UserId"]}


_DNS_SUFFIXES = {"aws": "amazonaws.com", "aws-us-gov": "amazonaws.com", "aws-cn": "amazonaws.com.cn"}


def _partition(aws: Aws, arguments: State) -> State:
    suffix = _DNS_SUFFIXES.get(aws.partition, "amazonaws.com")
    return {"id": aws.partition, "partition": aws.partition, "dnsSuffix": suffix,
            "reverseDnsPrefix": ".".join(reversed(suffix.split(".")))}


def _region(aws: Aws, arguments: State) -> State:
    return {"id": aws.region, "region": aws.region, "name": aws.region}


FUNCTIONS = [
    Function("aws:index/getCallerIdentity:getCallerIdentity", {}, _caller_identity),
    Function("aws:index/getPartition:getPartition", {}, _partition),
    Function("aws:index/getRegion:getRegion", {}, _region),
]
