"""The differential test: the same conversation with two servers of ZooKeeper's protocol, one of which is right by definition.

    steps.py      what a conversation consists of: plain values, so that it can be replayed, cut and printed
    bodies.py     the arguments of requests, drawn
    generator.py  a seed -> a conversation
    player.py     plays it with one server and brings back what came
    view.py       what came, in words that are the same for every server: no zxid, time or session id in it
    tree.py       the whole tree of a server: looked at, cleared between conversations
    duel.py       both servers side by side: the first difference, and the shortest conversation that shows it
    rules.py      the few differences that are intended, each with its reason
    report.py     a difference, told
    servers.py    the two servers, started for a duel

The command is tests/compat/differential.py; docs/compatibility.md has the rules' table."""
