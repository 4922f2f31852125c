"""The release gate: a real datacenter, broken on purpose, and what must hold all the same.

    python -m tests.faults.leaders --count 3 --seed 1     who leads is killed at each of the twelve steps
    python -m tests.faults.pauses --count 5 --seed 1      who leads is stopped, followed by another, and wakes
    python -m tests.faults.failover --count 30 --seed 1   how long it takes until somebody else leads
    python -m tests.faults.servers --count 3 --seed 1     nats-servers are killed, damaged, emptied, filled up
    python -m tests.faults.stores --count 200 --seed 1    a master is killed while it commits; its store is damaged
    python -m tests.faults.repairs --count 3 --seed 1     a datacenter that is down is damaged, and repaired
    python -m tests.faults.hosts --count 2 --seed 1       hosts in network namespaces are cut off, and healed

`make gate` runs all of them. The short versions are tests/e2e/test_gate_*.py.

Rule of this room: faults come from outside, by signal, file and network; the product has no hook. What is claimed at
the end is read from the log, from the stores, and from the processes on the machine, and clients' own histories are
held against them.
"""
