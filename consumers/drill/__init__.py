"""Drills: a marked clip goes the whole way of a camera, and every station on it is timed.

course.py     pure: which stations records show that were reached, who was told, and what is still awaited
clip.py       sends the clip as the camera's agent would, under the drill's name
diagnosis.py  why a station was not reached
run.py        does the drill
"""
