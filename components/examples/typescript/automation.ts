// Runs index.ts through Pulumi's Automation API: npm run pulumi -- up | preview | destroy
import { LocalWorkspace } from "@pulumi/pulumi/automation";

async function main(command: string) {
    const stack = await LocalWorkspace.createOrSelectStack(
        {
            stackName: "dev",
            projectName: "access-keys-typescript",
            program: async () => ({ ...(await import("./index")) }),
        },
        { workDir: __dirname },
    );
    const options = { onOutput: (text: string) => process.stdout.write(text) };
    const commands: Record<string, () => Promise<unknown>> = {
        up: () => stack.up(options),
        preview: () => stack.preview(options),
        destroy: () => stack.destroy({ ...options, runProgram: true }), // a guarded key wants to be asked about
    };
    if (!(command in commands)) {
        throw new Error(`npm run pulumi -- ${Object.keys(commands).join(" | ")}`);
    }
    await commands[command]().catch(() => process.exit(1)); // the engine has shown why
}

main(process.argv[2]).catch(error => {
    console.error(error.message);
    process.exit(1);
});
