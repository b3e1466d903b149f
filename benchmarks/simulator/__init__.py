"""A whole gateway under a random mix of faults, drawn from a seed, with what must never happen checked at the end.

    python -m benchmarks.simulator --seeds 1000 --from 0        many seeds; exit 1 when one breaks an invariant
    python -m benchmarks.simulator --seeds 1 --from 417 --show  one seed again, with its script

The script of a seed (who asks what, how each provider behaves at each try, what happens to the machine meanwhile) is
a value: the same seed always makes the same one (after the idea of FoundationDB's and TigerBeetle's simulators; here
the sockets, files and processes are real, so the order of events within a few milliseconds is the machine's).
"""
