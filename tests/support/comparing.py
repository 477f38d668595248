"""A strategy that compares each LIVE book with the quote of the same update id, and notes what becomes of the book."""

from __future__ import annotations

from headrace import Book, Strategy


class Comparing(Strategy):
    """Compares each book with the quote of the same id."""

    def __init__(self) -> None:
        self.quotes: dict[int, tuple[float, ...]] = {}
        self.equal, self.unequal = 0, 0
        self.states: list[tuple[str, str]] = []
        self.books = 0

    def on_quote(self, venue_seq: int, bid_price: float, ask_price: float, bid_size: float, ask_size: float) -> None:
        self.quotes[venue_seq] = (bid_price, ask_price, bid_size, ask_size)

    def on_book(
        self, update_id: int, bid_price: float, ask_price: float, bid_size: float, ask_size: float, book: Book
    ) -> None:
        self.books += 1
        assert book.state == "LIVE"
        if (quote := self.quotes.get(update_id)) is not None:
            same = quote == (bid_price, ask_price, bid_size, ask_size)
            self.equal, self.unequal = self.equal + same, self.unequal + (not same)

    def on_status(self, stream: str | None, state: str, reason: str) -> None:
        if stream == "depth" and state in ("SYNCING", "LIVE", "STALE"):
            self.states.append((state, reason))
