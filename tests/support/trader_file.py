"""A strategy's file for runs by the command line: it buys and sells in turn. A test adds what it needs beside that."""

TRADER = """
import headrace


class Trader(headrace.Strategy):
    quotes = 0

    def on_quote(self, instrument, bid_price):
        self.quotes += 1
        if self.quotes % 20 == 0:
            self.buy(instrument, "0.001")
        if self.quotes % 20 == 10:
            self.sell(instrument, "0.001")
"""
