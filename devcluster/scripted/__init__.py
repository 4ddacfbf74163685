"""What plays the resident, the kubelet and the trainer on a control plane without a node that runs pods.

A real API server and the real operator act; a script decides what the pods do, also what a real program cannot be asked
to do. `furnished` installs what the operator needs, `world` creates and reads objects, with a module in `resources` for
each resource. The process node, which runs real programs, is `devcluster.process_node`; the tests' own faults are in
tests/chaos.
"""
