"""AWS access keys as code: read the stack file, create what it asks for, export what the operator needs."""

import pulumi
from aws_access_keys import ProgrammaticAccess, stack_settings

settings = stack_settings()
access = ProgrammaticAccess.from_stack_file("access", settings)

pulumi.export("accessKeyIds", access.access_key_ids)
pulumi.export("secretAccessKeys", access.secret_access_keys)
pulumi.export("credentialsFile", access.credentials_file)
pulumi.export("userArns", access.user_arns)
pulumi.export("groupArns", access.group_arns)
pulumi.export("keys", access.keys)
if access.has_encrypted_secrets:
    pulumi.export("encryptedSecrets", access.encrypted_secrets)
if "credentialsCsv" in settings.outputs:
    pulumi.export("credentialsCsv", access.credentials_csv)
if "sesSmtpPasswords" in settings.outputs:
    pulumi.export("sesSmtpPasswords", access.ses_smtp_passwords)
