"""Notifications: who is told of which events, exactly what became of each message, and how it gets there.

plan.py        pure: which reports become messages, what is held back, what is tried next
conditions.py  pure: which states of cameras, agents, workers and disks become messages, once they have lasted
ledger.py      pure: what the entries on the topic of deliveries say by now
notifier.py    the process: reads events and states, writes entries, hands messages to channels
channels/      how a message gets there
"""
