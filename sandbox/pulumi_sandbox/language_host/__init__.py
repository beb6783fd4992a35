"""The Python language host of an engine that comes without one."""
