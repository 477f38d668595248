"""Trading: orders, the gates they pass, brokers that fill them, and the positions that come of it."""
