// Groups, users and access keys from TypeScript.
import * as pulumi from "@pulumi/pulumi";

// The component by its token. `pulumi package add` generates a class like this one, with types for all of its args.
class ProgrammaticAccess extends pulumi.ComponentResource {
    declare readonly accessKeyIds: pulumi.Output<Record<string, string>>;
    declare readonly secretAccessKeys: pulumi.Output<Record<string, string>>;

    constructor(name: string, args: pulumi.Inputs, options?: pulumi.ComponentResourceOptions) {
        const outputs = { accessKeyIds: undefined, secretAccessKeys: undefined };
        super("aws-access-keys:index:ProgrammaticAccess", name, { ...args, ...outputs }, options, true);
    }
}

const access = new ProgrammaticAccess("access", {
    groups: { readers: { policies: ["AmazonS3ReadOnlyAccess"] } },
    users: {
        ann: { groups: ["readers"], key: { serial: 1 } },
    },
});

export const accessKeyIds = access.accessKeyIds;
export const secretAccessKeys = access.secretAccessKeys;
