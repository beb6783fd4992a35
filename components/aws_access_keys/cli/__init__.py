"""What operators do around `pulumi up`: look at a stack's keys, hand them over, check the machine.

These commands work on any account, in the sandbox or outside; they ask the engine, never its files.
"""
