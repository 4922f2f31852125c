"""The fetcher: a process that brings one task's files into its sandbox, and ends.

    agent ─ order (stdin) ─► fetcher ─ http, https, file ─► sandbox, archives unpacked
          ◄─ verdict (stdout) ┘

Everything it reads comes from strangers, so it is not the agent: it has the task's user, limits of its own, and dies
with the agent or when the agent wants. It knows no bus and no log.
Rule of this room: nothing leaves the sandbox, nothing inside it is followed, every size and every wait is bounded.
"""
