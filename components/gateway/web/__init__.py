"""Where the gateway touches the world: HTTP on one side, the bus on the other."""
