"""The fault drill: seeded kills, stops and wipes under load, judged from outside by `verdict.judge`."""
