"""What Busbar costs, measured: on real processes, a real nats-server and a real disk.

Rule of this room: it measures and never judges. A goal stands beside a figure, no figure decides an exit code; what
must be right, the counts, is asserted. A ratio is of two figures taken in turns in one run, because machines differ
and are shared.
"""
