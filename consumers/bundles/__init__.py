"""Evidence to keep: one HTML file of an event that plays without a network, and says what was changed in it.

    topics ──▶ gathering.py ──▶ making.py ──▶ layout.py ──▶ event.html
               (records, footage)   page/ (what it looks like)      │
                                    signing.py (ed25519)            ▼
                                                            checking.py: each part that differs, and whose key it is

What is signed, and what that proves, is in docs/evidence.md and ADR 52.
"""
