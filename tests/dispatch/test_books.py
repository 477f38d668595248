"""Books in dispatch: exact while LIVE, not called otherwise, a status tick for each change, no cost without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import Book, Decoder, Dispatcher, Strategy
from headrace.errors import HeadraceError, KindError, OptionError, SubscriptionError
from tests.support.feeding import HandClock, holds_the_law
from tests.support.frames import BTCUSDT, SPOT, START, depth, encoded, quote, snapshot, status, trade, written

BIDS, ASKS = [(9.0, 1.0), (8.0, 2.0), (7.0, 4.0)], [(10.0, 1.0), (11.0, 3.0)]


class Watching(Strategy):
    """Keeps what its book was at each call, and what was said of it."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.kept: list[Any] = []

    def on_book(self, update_id: int, bid_price: float, ask_price: float, book: Book) -> None:
        self.said.append((update_id, bid_price, ask_price))
        self.kept.append((book, *book.bids(2)))

    def on_status(self, instrument: str, stream: str, state: str, reason: str) -> None:
        self.said.append((instrument, stream, state, reason))


def test_the_recordings_books_equal_every_quote_of_their_ids(recordings: Path) -> None:
    class Comparing(Strategy):
        def __init__(self) -> None:
            self.quotes: dict[int, tuple[float, ...]] = {}
            self.found = {True: 0, False: 0}
            self.states: list[str] = []

        def on_quote(
            self, venue_seq: int, bid_price: float, ask_price: float, bid_size: float, ask_size: float
        ) -> None:
            self.quotes[venue_seq] = (bid_price, ask_price, bid_size, ask_size)

        def on_book(self, update_id: int, bid_price: float, ask_price: float, bid_size: float, ask_size: float) -> None:
            if update_id in self.quotes:
                self.found[self.quotes[update_id] == (bid_price, ask_price, bid_size, ask_size)] += 1

        def on_status(self, state: str) -> None:
            self.states.append(state)

    for file, equal, states in (
        ("spot_btcusdt_20240808.gz", 564, ["LIVE"]),
        ("usdm_btcusdt_20240808.gz", 503, ["LIVE"]),
        ("spot_ethusdt_20240809.gz", 0, []),
    ):
        comparing = Comparing()
        report = headrace.replay(recordings / file, comparing)
        assert (comparing.found, comparing.states) == ({True: equal, False: 0}, states), file
        assert holds_the_law(report.strategies["Comparing"])


def test_a_book_is_called_while_live_and_every_change_is_told_once(tmp_path: Path) -> None:
    watching = Watching()
    frames = [
        depth(4, 5, [(9.5, 1.0)]),
        snapshot(4, BIDS, ASKS),
        depth(6, 6, [(9.5, 0.0)], [(9.75, 2.0)]),
        depth(9, 9, [(9.25, 1.0)]),  # 7 and 8 are missing.
        depth(10, 10),
        snapshot(9, BIDS, ASKS),
        depth(11, 12, [], [(10.0, 0.0)]),
        status("trade", "DOWN", "DISCONNECTED"),
        status("depth", "DOWN", "DISCONNECTED"),
        depth(13, 13, [(9.0, 0.0)]),
    ]
    headrace.replay(written(tmp_path, frames), watching, venue=SPOT)
    own = (BTCUSDT, "depth")
    assert watching.said == [
        (*own, "LIVE", "IN_SYNC"),
        (6, 9.0, 9.75),
        (*own, "STALE", "EVENTS_MISSING"),
        (*own, "LIVE", "IN_SYNC"),
        (12, 9.0, 11.0),
        (BTCUSDT, "trade", "DOWN", "DISCONNECTED"),
        (BTCUSDT, "depth", "DOWN", "DISCONNECTED"),
        (*own, "STALE", "DISCONNECTED"),
        (*own, "LIVE", "IN_SYNC"),
        (13, 8.0, 11.0),
    ]


@pytest.mark.parametrize("price", [10.0, 10.5])
def test_a_crossed_book_is_stale_until_a_snapshot(tmp_path: Path, price: float) -> None:
    watching = Watching()
    frames = [
        snapshot(4, BIDS, ASKS),
        depth(5, 5),
        depth(6, 6, [(price, 1.0)]),
        depth(7, 7),
        snapshot(7, BIDS, ASKS),
        depth(8, 8),
    ]
    headrace.replay(written(tmp_path, frames), watching, venue=SPOT)
    own = (BTCUSDT, "depth")
    assert watching.said == [
        (*own, "LIVE", "IN_SYNC"),
        (5, 9.0, 10.0),
        (*own, "STALE", "CROSSED"),
        (*own, "LIVE", "IN_SYNC"),
        (8, 9.0, 10.0),
    ]


def test_a_kept_book_raises_and_its_arrays_stay(tmp_path: Path) -> None:
    watching = Watching()
    frames = [snapshot(4, BIDS, ASKS), depth(5, 5), depth(6, 6, [(9.5, 7.0)]), depth(7, 7, [(9.5, 0.0)])]
    headrace.replay(written(tmp_path, frames), watching, venue=SPOT)
    assert [list(prices) for _, prices, _ in watching.kept] == [[9.0, 8.0], [9.5, 9.0], [9.0, 8.0]]
    assert [list(sizes) for _, _, sizes in watching.kept] == [[1.0, 2.0], [7.0, 1.0], [1.0, 2.0]]
    _, prices, sizes = watching.kept[0]
    assert not prices.flags.writeable
    assert not sizes.flags.writeable
    for old, *_ in watching.kept[:-1]:
        for use in (old.bids, old.asks, old.checksum, lambda old=old: old.depth_at(9.0), lambda old=old: old.quality):
            with pytest.raises(HeadraceError, match="has gone on since"):
                use()
    assert watching.kept[-1][0].quality == "LIVE"


def test_a_book_answers_for_depth_prices_and_its_checksum(tmp_path: Path) -> None:
    import struct
    import zlib

    answers: list[Any] = []

    class Asking(Strategy):
        def on_book(self, book: Book) -> None:
            answers.extend([book.depth_at(8.0), book.depth_at(8.5), book.vwap(1, 2.0), book.vwap(-1, 3.0)])
            answers.extend([np.isnan(book.vwap(1, 5.0)), book.checksum(), book.state, len(book.asks()[0])])
            for side, size in ((0, 1.0), (1, 0.0), (1, float("nan"))):
                with pytest.raises(ValueError, match="side is"):
                    book.vwap(side, size)

    headrace.replay(written(tmp_path, [snapshot(4, BIDS, ASKS), depth(5, 5)]), Asking(), venue=SPOT)
    packed = b"".join(struct.pack("<qd", round(price * 1e8), size) for price, size in BIDS + ASKS)
    mean = 2 * 9.0 + 8.0
    assert answers == [2.0, 0.0, 10.5, pytest.approx((9.0 + 2 * 8.0) / 3), True, zlib.crc32(packed), "LIVE", 2], mean


def test_a_book_beyond_its_snapshot_is_degraded_and_begins_no_recording(tmp_path: Path) -> None:
    """The venue has more bids than the five of the snapshot: which one is the best when they are gone, nothing says."""
    answers: list[Any] = []

    class Asking(Strategy):
        def on_book(self, book: Book) -> None:
            answers.append((book.quality, list(book.bids()[0])))
            if book.quality == "DEGRADED":
                answers.append([book.depth_at(price) for price in (9.0, 3.5, 10.0)])
                with pytest.raises(HeadraceError, match="lies beyond its snapshot"):
                    book.snapshot()

    five = [(9.0 - depth, 1.0) for depth in range(5)]
    gone = [(price, 0.0) for price, _ in five]
    # 3.5 came after the snapshot; 4.5 may have been there before, and is not known to be.
    frames = [
        snapshot(4, five, ASKS),
        depth(5, 5, [(3.5, 7.0)]),
        depth(6, 6, gone),
        snapshot(6, [(4.5, 2.0), (3.5, 7.0)], ASKS),
        depth(7, 7),
    ]
    headrace.replay(written(tmp_path, frames), Asking(), venue=SPOT)
    np.testing.assert_equal(
        answers,
        [
            ("LIVE", [9.0, 8.0, 7.0, 6.0, 5.0]),
            ("DEGRADED", []),
            [np.nan, np.nan, 1.0],
            ("LIVE", [4.5, 3.5]),
        ],
    )


@pytest.mark.parametrize("options", [{}, {"every": "3ms"}, {"batch_max": 2}])
def test_the_plural_gets_the_same_books_as_columns(tmp_path: Path, options: dict[str, Any]) -> None:
    frames = [snapshot(4, BIDS, ASKS), *(depth(n, n, [(9.0, float(n))]) for n in range(5, 25))]
    got: list[float] = []

    class Plural(Strategy):
        subscription = options

        def on_books(self, update_id: Any, bid_size: Any, mid: Any) -> None:
            assert not bid_size.flags.writeable
            assert list(update_id) == list(bid_size)
            assert set(mid) == {9.5}
            got.extend(bid_size)

    report = headrace.replay(written(tmp_path, frames), Plural(), venue=SPOT)
    assert got == list(range(5, 25))
    assert holds_the_law(report.strategies["Plural"])


def test_a_book_is_no_tick_of_other_handlers_and_no_position(tmp_path: Path) -> None:
    kinds: list[str] = []

    class Every(Strategy):
        def on_tick(self, kind: str) -> None:
            kinds.append(kind)

        def on_book(self, seq: int) -> None:
            kinds.append("book")

    frames = [snapshot(4, BIDS, ASKS), depth(5, 5), quote(5), trade(7)]
    report = headrace.replay(written(tmp_path, frames), Every(), venue=SPOT)
    # The book's state is told, too.
    assert kinds == ["level"] * 5 + ["level_empty", "status", "book", "quote", "trade"]
    assert "book" not in report.ticks
    assert report.strategies["Every"].delivered == 8
    assert holds_the_law(report.strategies["Every"])


def test_each_instrument_has_its_own_book(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    class Two(Strategy):
        def on_book(self, instrument: str, update_id: int) -> None:
            seen.append((instrument, update_id))

    frames = [
        *(snapshot(4, BIDS, ASKS, symbol) for symbol in ("BTCUSDT", "ETHUSDT")),
        *(depth(n, n, symbol=symbol) for n in (5, 6) for symbol in ("ETHUSDT", "BTCUSDT")),
    ]
    headrace.replay(written(tmp_path, frames), Two(), venue=SPOT)
    assert seen == [(f"{symbol}.BINANCE", n) for n in (5, 6) for symbol in ("ETHUSDT", "BTCUSDT")]


def published(dispatcher: Dispatcher, decoder: Decoder, *frames: dict[str, object]) -> None:
    for frame in frames:
        dispatcher.publish_frame(decoder, encoded(frame), START)


def test_a_lapped_book_is_stale_until_the_ids_show_that_nothing_is_missing() -> None:
    watching = Watching()
    with Dispatcher(ring_capacity=16, clock=HandClock()) as dispatcher:
        decoder = Decoder(SPOT, dispatcher.instruments)
        own = dispatcher.subscribe(watching, overflow="drop_oldest")
        published(dispatcher, decoder, snapshot(4, BIDS, ASKS), depth(5, 5))
        dispatcher.dispatch()
        published(dispatcher, decoder, *(trade(n) for n in range(20)), depth(6, 6))
        dispatcher.dispatch()
        published(dispatcher, decoder, *(depth(n, n) for n in range(7, 40)))
        dispatcher.dispatch()
        assert holds_the_law(own.stats())
    states = [row[2:] for row in watching.said if len(row) == 4]
    assert states == [
        ("LIVE", "IN_SYNC"),
        ("STALE", "TICKS_LOST"),
        ("LIVE", "IN_SYNC"),
        ("STALE", "TICKS_LOST"),
    ]
    assert [row[0] for row in watching.said if len(row) == 3] == [5, 6]


def test_a_strategy_that_comes_later_needs_a_snapshot_of_its_own() -> None:
    first, later = Watching(), Watching()
    with Dispatcher(clock=HandClock()) as dispatcher:
        asked: list[str] = []
        dispatcher.books.fetch = asked.append
        decoder = Decoder(SPOT, dispatcher.instruments)
        own = dispatcher.subscribe(first)
        published(dispatcher, decoder, snapshot(4, BIDS, ASKS), depth(5, 5))
        dispatcher.dispatch()
        own.close()
        published(dispatcher, decoder, depth(6, 6, [(9.5, 1.0)]))
        dispatcher.dispatch()
        dispatcher.subscribe(later)
        published(dispatcher, decoder, depth(7, 7))
        dispatcher.dispatch()
        assert (later.said, asked, dispatcher.books.state(BTCUSDT)) == ([], [BTCUSDT], "SYNCING")
        published(dispatcher, decoder, snapshot(6, BIDS, ASKS))
        dispatcher.dispatch()
    assert later.said == [(BTCUSDT, "depth", "LIVE", "IN_SYNC")]


@pytest.mark.parametrize("gone", range(6))
def test_a_refresh_is_asked_for_halfway_to_the_end_of_a_snapshot(gone: int) -> None:
    five, asked = [(9.0 - depth, 1.0) for depth in range(5)], list[str]()
    with Dispatcher(clock=HandClock()) as dispatcher:
        dispatcher.books.fetch = asked.append
        decoder = Decoder(SPOT, dispatcher.instruments)
        dispatcher.subscribe(Watching())
        fallen = [(price, 0.0) for price, _ in five[:gone]]
        published(dispatcher, decoder, snapshot(4, five, ASKS), depth(5, 5), depth(6, 6, fallen), depth(7, 7))
        dispatcher.dispatch()
    assert asked == ([BTCUSDT] if gone >= 2 else [])


def test_a_paused_strategys_book_goes_on() -> None:
    watching = Watching()
    with Dispatcher(clock=HandClock()) as dispatcher:
        decoder = Decoder(SPOT, dispatcher.instruments)
        own = dispatcher.subscribe(watching)
        published(dispatcher, decoder, snapshot(4, BIDS, ASKS), depth(5, 5))
        dispatcher.dispatch()
        own.pause()
        published(dispatcher, decoder, depth(6, 6, [(9.5, 1.0)]))
        dispatcher.dispatch()
        own.resume()
        published(dispatcher, decoder, depth(7, 7))
        dispatcher.dispatch()
        assert holds_the_law(own.stats())
    assert watching.said[1:] == [(5, 9.0, 10.0), (7, 9.5, 10.0)]


def test_what_needs_every_level_refuses_to_lose_some() -> None:
    with Dispatcher() as dispatcher:
        for options, option in (({"rate_limit": 10.0}, "rate_limit"), ({"overflow": "conflate"}, "overflow")):
            with pytest.raises(OptionError) as refused:
                dispatcher.subscribe(Watching(), **options)
            assert refused.value.option == option
        with pytest.raises(OptionError, match="write on_book"):
            dispatcher.subscribe(kinds=["book"])
        with pytest.raises(SubscriptionError, match="'book', a field of book"):
            dispatcher.subscribe(lambda book: None, callback="on_quote")
        forged = np.zeros(1, headrace.TICK_DTYPE)
        forged["kind"] = 8
        with pytest.raises(KindError, match="publish the levels"):
            dispatcher.publish(forged)


def test_an_async_handlers_book_is_valid_until_its_awaits_are_over(tmp_path: Path) -> None:
    import asyncio

    bests: list[float] = []

    class Awaiting(Strategy):
        async def on_book(self, book: Book) -> None:
            await asyncio.sleep(0)
            bests.append(float(book.bids(1)[1][0]))

    frames = [snapshot(4, BIDS, ASKS), *(depth(n, n, [(9.0, float(n))]) for n in range(5, 10))]
    headrace.replay(written(tmp_path, frames), Awaiting(), venue=SPOT)
    assert bests == [5.0, 6.0, 7.0, 8.0, 9.0]


def test_a_thread_of_its_own_has_a_book_of_its_own() -> None:
    from tests.support.feeding import wait_until

    watching = Watching()
    with Dispatcher() as dispatcher:
        decoder = Decoder(SPOT, dispatcher.instruments)
        dispatcher.subscribe(watching, mode="thread")
        published(dispatcher, decoder, snapshot(4, BIDS, ASKS), depth(5, 5), depth(6, 6))
        wait_until(lambda: len(watching.said) == 3)
    assert watching.said == [(BTCUSDT, "depth", "LIVE", "IN_SYNC"), (5, 9.0, 10.0), (6, 9.0, 10.0)]


def test_a_copy_of_a_book_stays_valid_and_ends_with_its_group() -> None:
    from tests.support.feeding import wait_until

    inline, apart = Watching(), Watching()
    with Dispatcher() as dispatcher:
        decoder = Decoder(SPOT, dispatcher.instruments)
        books = dispatcher.books
        own = dispatcher.subscribe(inline)
        thread = dispatcher.subscribe(apart, name="apart", mode="thread")
        assert (books.copy_of(BTCUSDT), books.states) == (None, {})
        published(dispatcher, decoder, snapshot(4, BIDS, ASKS), depth(5, 5))
        dispatcher.dispatch()
        wait_until(lambda: len(apart.said) == 2)
        copy = books.copy_of(BTCUSDT)
        assert copy is not None
        published(dispatcher, decoder, depth(6, 6, [(9.5, 7.0)]))
        dispatcher.dispatch()
        wait_until(lambda: len(apart.said) == 3)
        assert (copy.update_id, list(copy.bids(1)[0])) == (5, [9.0])
        newer = books.copy_of(BTCUSDT)
        assert newer is not None
        assert (newer.update_id, list(newer.bids(1)[0])) == (6, [9.5])
        # One group's book is enough.
        thread.close()
        assert (books.copy_of(BTCUSDT) is not None, books.state(BTCUSDT)) == (True, "LIVE")
        own.close()
        published(dispatcher, decoder, trade(1))
        dispatcher.dispatch()
        assert (books.copy_of(BTCUSDT), books.states, books.state(BTCUSDT)) == (None, {}, "SYNCING")
