"""How fast a server is, of ZooKeeper's protocol or of fastzk's own: a compiled load generator and its command, fastzk-bench."""
