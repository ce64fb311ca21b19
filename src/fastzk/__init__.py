"""fastzk: a coordination service with ZooKeeper's data model and guarantees."""
