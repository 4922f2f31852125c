"""The launcher: one small process per executor that forks the tasks, outlives the executor and keeps their ends.

Rule of this room: the standard library's small modules only, no bus, and no threads but those that a task's process is
spawned from (`spawning`). It is run with empty shells in place of the packages above it, because what they import would
cost three times its memory.
What it must not forget lies in the sandboxes before it matters: killed by -9, the next launcher adopts.
"""
