"""A real plant on this machine, under load, while what it stands on is killed, cut, filled and emptied.

`python -m tests.faults --seed S` (or `make faults`) runs it at length; test_faults.py runs it for a minute.

    line.py    what the cameras give: files, some of them poison
    ground.py  what a plant stands on: PostgreSQL, broker, disks
    plant.py   our own processes, under `up`'s supervisor
    kinds.py   what may go wrong
    run.py     draws faults from a seed, lets them happen, and measures how long the plant takes to recover
    proof.py   what has to hold of the history at every moment and at the end
    hook/      makes poison deadly and a store slow: installed from outside, no product code knows of it
"""
