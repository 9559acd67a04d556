"""Notifications: who is told of which events, exactly what became of each message, and how it gets there.

plan.py      pure: which reports become messages, what is held back, what is tried next
ledger.py    pure: what the entries on the topic of deliveries say by now
notifier.py  the process: reads events, writes entries, hands messages to channels
channels/    how a message gets there
"""
