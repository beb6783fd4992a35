"""AWS IAM's limits.

Source: IAM and AWS STS quotas, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

GROUP_NAME_LENGTH = 128  # characters
USER_NAME_LENGTH = 64  # characters
PATH_LENGTH = 512  # characters
POLICIES_PER_GROUP = 10  # managed policies; AWS does not raise it
POLICY_NAME_LENGTH = 128  # characters
POLICY_LENGTH = 6144  # characters of a managed policy without white space; AWS does not raise it
INLINE_LENGTH = {"group": 5120, "user": 2048}  # characters without white space of all inline policies together
POLICIES_PER_USER = 10  # managed policies; AWS raises it to 20 on request
GROUPS_PER_USER = 10  # AWS does not raise it
GROUPS_PER_ACCOUNT = 300  # AWS raises it to 500 on request
USERS_PER_ACCOUNT = 5000  # AWS does not raise it
POLICIES_PER_ACCOUNT = 1500  # customer managed; AWS raises it to 5000 on request
KEYS_PER_USER = 2  # an inactive key counts; AWS does not raise it
TAGS_PER_USER = 50
TAG_KEY_LENGTH = 128  # characters
TAG_VALUE_LENGTH = 256  # characters
