"""The HTTP API of the dashboard: what is on the topics and in Redis, for whoever may see it.

    topics ──▶ memory/ ──▶ routes/ ──▶ app.py ──▶ serving.py
               bounded     ▲
                           access.py, credentials.py: who asks, and what that one may

A page, a playlist or another part of the dashboard is a router of its own in routes/; see routes/__init__.py.
"""
