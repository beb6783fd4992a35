"""AWS access keys as code: read the stack's settings, make what they ask for, export what the operator needs."""

import pulumi
from aws_access_keys import ProgrammaticAccess, finish, issued_keys
from aws_access_keys.settings.args import component_args, has_encrypted_secrets
from aws_access_keys.settings.preflight import preflight
from aws_access_keys.settings.read import read_settings, refuse
from aws_access_keys.settings.session import aws_session

settings, environment = read_settings()
issued = issued_keys()
refuse(list(preflight(settings, issued, environment.ignored_tags, aws_session)))

access = ProgrammaticAccess("access", component_args(settings, environment, issued), session=aws_session)

pulumi.export("accessKeyIds", access.access_key_ids)
pulumi.export("secretAccessKeys", access.secret_access_keys)
pulumi.export("credentialsFile", access.credentials_file)
pulumi.export("userArns", access.user_arns)
pulumi.export("groupArns", access.group_arns)
pulumi.export("keys", access.keys)
if has_encrypted_secrets(settings, issued):
    pulumi.export("encryptedSecrets", access.encrypted_secrets)
if "credentialsCsv" in settings.outputs:
    pulumi.export("credentialsCsv", access.credentials_csv)
if "sesSmtpPasswords" in settings.outputs:
    pulumi.export("sesSmtpPasswords", access.ses_smtp_passwords)
finish(access.refused)
