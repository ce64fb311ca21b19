"""How fast a server of ZooKeeper's protocol is: a compiled load generator and its report."""
