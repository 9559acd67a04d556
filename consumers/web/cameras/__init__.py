"""What the page of one camera shows: how it was, what it sent, and what the model sees of it.

topics of states ──▶ history.py     since when it was how, and what of that was classified in time
index of segments ──▶ rate.py       how much it sent, and when nothing
newest segments ──▶ sample.py       a few of its pictures as the model gets them
                    snapshot.py     its newest picture, for browsers that cannot play it
                    decoding.py     the process that decodes for both
"""
