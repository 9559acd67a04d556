"""What a camera costs, with the models that ship, against what people would write instead: `make bench`.

    bench.py ─▶ cli ─▶ bench ─▶ measuring ──stdin: a job, then an ask for each round──▶ paths ─▶ clipline, peers, …
                 │                  ◀────────────stdout: what each round gave────────────┘
                 ├─▶ figures      the table and the JSON
                 └─▶ pages        what README.md and docs/sizing.md say of it

`plan` says what is measured and how often, `rows` names it, `cores` and `latency` measure what takes several turns.
"""
