"""Real nodes under real faults, and the judgement of what their clients saw; `python -m fastzk.testing.chaos`."""
