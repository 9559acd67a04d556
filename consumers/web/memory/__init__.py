"""What the topics say now, as much of it as there is room for: each topic is read once, for all clients.

    topics ──▶ feed.py ──▶ intake.py ──▶ view.py ──▶ routes
               one consumer each, kept in newest.py   what is not forgotten

What is kept is bounded by number and by age; what that leaves out, `health` says.
"""
