"""Verdicts: whether an event was right, said by whoever was told of it.

links.py     pure: links that are signed, and expire
book.py      what the topic of verdicts says by now
page.py      pure: the page behind a link
serving.py   HTTP
by_hand.py   listing, and giving one without a link
"""
