"""Notifications: who is told of which events, exactly what became of each message, and how it gets there.

plan.py             pure: which reports become messages, what is held back, what is tried next
conditions.py       pure: which states of cameras, agents, workers and disks become messages, once they have lasted
ledger.py           pure: what the entries on the topic of deliveries say by now
answers.py          pure: what people said of events, and what they want to hear nothing of for a while
open_conditions.py  pure: which conditions channels were told of and are not over
pictured.py         pure: which pictures belong to a message, and whether it waits for them
attaching.py        puts pictures in when a message is sent
desk.py             all that is read from the broker and written to it
notifier.py         the process: reads events and states, writes entries, hands messages to channels
channels/           how a message gets there
"""
