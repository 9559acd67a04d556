"""Notifications: who is told of which events, exactly what became of each message, and how it gets there.

plan.py      pure: which reports become messages, what is held back, what is tried next
ledger.py    pure: what the entries on the topic of deliveries say by now
pictured.py  pure: which pictures belong to a message, and whether it waits for them
attaching.py puts pictures in when a message is sent
notifier.py  the process: reads events, writes entries, hands messages to channels
channels/    how a message gets there
"""
