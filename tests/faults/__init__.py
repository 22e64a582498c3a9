"""Faults in number and what became of each: kills, flipped bits, reads beside a writer, changed parts, full disks.

python -m tests.faults [kills bits reads parts disks] [--tries N] [--seed S]
"""
