"""Guards what goes in and what goes out. Flows import its modules by name: each is one idea.

In: `cleaning`, `decoding`, `signals`, `injection`, `judging`, `attempts`. Out: `output` with `terms`, `leaks`, `encoded`, `pii`.
What a tenant says of it: `policy`, `allow`, `directory`. What happened: `events`, `waves`, `store`.
"""
