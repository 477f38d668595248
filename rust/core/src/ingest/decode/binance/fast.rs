//! The predicted scanner: frames as the venue writes them today, key after key, without white space or escapes.
//!
//! ```text
//!   {"stream":"…","data":{"e":"trade","E":  1723161255343  ,"s":"  BTCUSDT  ","t": …  ─▶ Frame
//!    └──── one literal compare ───────────┘ eight digits a step          any other byte ─▶ None ─▶ general
//! ```
//! Guarantees: what it accepts, the general way accepts, with equal bits; it rejects nothing: `None` means "read it the
//! general way". Optional keys are those that markets or years differ in.
//! Does not: allocate, look back, or accept texts that need more thought (escapes, signs, over 15 digits go on).

use super::frame::{Content, Depth, Frame, Level, Quote, Snapshot, Trade, other_book};
use super::number::Number;
use super::scan::Scan;
use crate::market::instrument::Venue;
use std::borrow::Cow;
use std::ops::Range;

/// Reads a frame that is as predicted; levels go to `levels`, which may be left with some when the answer is None.
pub(super) fn read<'a>(frame: &'a [u8], venue: Venue, levels: &mut Vec<Level>) -> Option<Frame<'a>> {
    let mut scan = Scan { rest: frame };
    let stream = match scan.lit(b"{\"stream\":\"") {
        Some(()) => {
            let stream = scan.text()?;
            scan.lit(b"\",\"data\":")?;
            Some(stream)
        }
        None => None,
    };
    let frame = scan.object(venue, stream, levels)?;
    if stream.is_some() {
        scan.lit(b"}")?;
    }
    scan.rest.is_empty().then_some(frame)
}

impl<'a> Scan<'a> {
    #[inline(always)]
    fn object(&mut self, venue: Venue, stream: Option<&[u8]>, levels: &mut Vec<Level>) -> Option<Frame<'a>> {
        if self.lit(b"{\"e\":\"").is_some() {
            if self.lit(b"depthUpdate\",\"E\":").is_some() {
                return self.depth(venue, stream, levels);
            }
            if self.lit(b"bookTicker\",\"u\":").is_some() {
                return self.quote();
            }
            if self.lit(b"trade\",\"E\":").is_some() {
                return self.trade();
            }
            self.lit(b"aggTrade\",\"E\":")?;
            return self.agg_trade();
        }
        if self.lit(b"{\"u\":").is_some() {
            return self.quote();
        }
        let symbol = match self.lit(b"{\"symbol\":\"") {
            Some(()) => {
                let symbol = self.text()?;
                self.lit(b"\",\"lastUpdateId\":")?;
                Some(symbol)
            }
            None => {
                self.lit(b"{\"lastUpdateId\":")?;
                None
            }
        };
        self.snapshot(stream, symbol, levels)
    }

    #[inline(always)]
    fn quote(&mut self) -> Option<Frame<'a>> {
        let id = self.whole()?;
        self.lit(b",\"s\":\"")?;
        let (symbol, paired) = self.symbol()?;
        self.lit(b",\"b\":\"")?;
        let bid_price = self.number()?;
        self.lit(b"\",\"B\":\"")?;
        let bid_size = self.number()?;
        self.lit(b"\",\"a\":\"")?;
        let ask_price = self.number()?;
        self.lit(b"\",\"A\":\"")?;
        let ask_size = self.number()?;
        self.lit(b"\"")?;
        let ts_event = match self.lit(b",\"T\":") {
            Some(()) => {
                let time = self.time()?;
                self.lit(b",\"E\":")?;
                self.time()?;
                Some(time)
            }
            None => None,
        };
        self.end(paired)?;
        Some(Frame::of(
            Cow::Borrowed(symbol),
            Content::Quote(Quote {
                id,
                ts_event,
                bid_price,
                ask_price,
                bid_size,
                ask_size,
            }),
        ))
    }

    #[inline(always)]
    fn trade(&mut self) -> Option<Frame<'a>> {
        let mut ts_event = self.time()?;
        // Futures write `T` here and `X` behind the size, spot `T` there.
        let futures = self.lit(b",\"T\":").is_some();
        if futures {
            ts_event = self.time()?;
        }
        self.lit(b",\"s\":\"")?;
        let (symbol, paired) = self.symbol()?;
        self.lit(b",\"t\":")?;
        let id = self.whole()?;
        let (price, size) = self.price_and_size()?;
        // Spot named the orders until 2024.
        if self.lit(b",\"b\":").is_some() {
            self.whole()?;
            self.lit(b",\"a\":")?;
            self.whole()?;
        }
        if futures {
            // Another `X` than this is the general way's to judge; old recordings have none.
            let _ = self.lit(b",\"X\":\"MARKET\"");
        } else {
            self.lit(b",\"T\":")?;
            ts_event = self.time()?;
        }
        let buyer_is_maker = self.maker()?;
        self.end(paired)?;
        // A price of 0 is the general way's to judge.
        (price.bits != 0).then_some(Frame::of(
            Cow::Borrowed(symbol),
            Content::Trade(Trade {
                id,
                constituents: None,
                ts_event,
                price,
                size,
                buyer_is_maker,
            }),
        ))
    }

    #[inline(always)]
    fn agg_trade(&mut self) -> Option<Frame<'a>> {
        self.time()?;
        // Spot and USD-M write the symbol first, COIN-M the id.
        let (id, (symbol, paired)) = if self.lit(b",\"s\":\"").is_some() {
            let symbol = self.symbol()?;
            self.lit(b",\"a\":")?;
            (self.whole()?, symbol)
        } else {
            self.lit(b",\"a\":")?;
            let id = self.whole()?;
            self.lit(b",\"s\":\"")?;
            (id, self.symbol()?)
        };
        let (price, size) = self.price_and_size()?;
        if self.lit(b",\"nq\":\"").is_some() {
            self.text()?;
            self.lit(b"\"")?;
        }
        self.lit(b",\"f\":")?;
        let first = self.whole()?;
        self.lit(b",\"l\":")?;
        let last = self.whole()?;
        self.lit(b",\"T\":")?;
        let ts_event = self.time()?;
        let buyer_is_maker = self.maker()?;
        self.end(paired)?;
        Some(Frame::of(
            Cow::Borrowed(symbol),
            Content::Trade(Trade {
                id,
                constituents: Some((first, last)),
                ts_event,
                price,
                size,
                buyer_is_maker,
            }),
        ))
    }

    #[inline(always)]
    fn depth(&mut self, venue: Venue, stream: Option<&[u8]>, levels: &mut Vec<Level>) -> Option<Frame<'a>> {
        if stream.and_then(other_book).is_some() {
            return None;
        }
        let ts_event = self.event_times()?;
        self.lit(b",\"s\":\"")?;
        let (symbol, paired) = self.symbol()?;
        self.lit(b",\"U\":")?;
        let first = self.whole()?;
        self.lit(b",\"u\":")?;
        let last = self.whole()?;
        let prev = match (venue, self.lit(b",\"pu\":")) {
            (Venue::Binance, None) => 0,
            (Venue::BinanceUsdm | Venue::BinanceCoinm, Some(())) => self.whole()?,
            _ => return None,
        };
        self.lit(b",\"b\":")?;
        let bids = self.levels(levels)?;
        self.lit(b",\"a\":")?;
        let asks = self.levels(levels)?;
        self.end(paired)?;
        Some(Frame::of(
            Cow::Borrowed(symbol),
            Content::Depth(Depth {
                first,
                last,
                prev,
                ts_event,
                bids,
                asks,
            }),
        ))
    }

    fn snapshot(
        &mut self,
        stream: Option<&[u8]>,
        symbol: Option<&'a [u8]>,
        levels: &mut Vec<Level>,
    ) -> Option<Frame<'a>> {
        if stream.and_then(other_book).is_some() {
            return None;
        }
        let last = self.whole()?;
        let ts_event = match self.lit(b",\"E\":") {
            Some(()) => {
                self.time()?;
                self.lit(b",\"T\":")?;
                Some(self.time()?)
            }
            None => None,
        };
        self.lit(b",\"bids\":")?;
        let bids = self.levels(levels)?;
        self.lit(b",\"asks\":")?;
        let asks = self.levels(levels)?;
        self.lit(b"}")?;
        Some(Frame::Ticks {
            symbol: symbol.map(Cow::Borrowed),
            content: Content::Snapshot(Snapshot {
                last,
                ts_event,
                bids,
                asks,
                is_cut: (false, false),
            }),
        })
    }

    /// `E`, and `T` where it follows, which then counts.
    #[inline(always)]
    fn event_times(&mut self) -> Option<i64> {
        let event_time = self.time()?;
        match self.lit(b",\"T\":") {
            Some(()) => self.time(),
            None => Some(event_time),
        }
    }

    /// The rest of the symbol, and whether its pair followed. COIN-M always names it, USD-M since 2026.
    #[inline(always)]
    fn symbol(&mut self) -> Option<(&'a [u8], bool)> {
        let symbol = self.text()?;
        self.lit(b"\"")?;
        let paired = self.pair()?;
        Some((symbol, paired))
    }

    /// The pair and the symbol's type, where they follow.
    #[inline(always)]
    fn pair(&mut self) -> Option<bool> {
        let paired = self.lit(b",\"ps\":\"").is_some();
        if paired {
            self.text()?;
            self.lit(b"\"")?;
        }
        if self.lit(b",\"st\":").is_some() {
            self.whole()?;
        }
        Some(paired)
    }

    /// The end of the object. The pair may stand here instead, but not twice.
    #[inline(always)]
    fn end(&mut self, paired: bool) -> Option<()> {
        if self.lit(b"}").is_some() {
            return Some(());
        }
        let twice = self.pair()? && paired;
        if twice { None } else { self.lit(b"}") }
    }

    #[inline(always)]
    fn price_and_size(&mut self) -> Option<(Number, Number)> {
        self.lit(b",\"p\":\"")?;
        let price = self.number()?;
        self.lit(b"\",\"q\":\"")?;
        let size = self.number()?;
        self.lit(b"\"")?;
        Some((price, size))
    }

    /// `m`, and on spot `M`.
    #[inline(always)]
    fn maker(&mut self) -> Option<bool> {
        let buyer_is_maker = match self.lit(b",\"m\":true") {
            Some(()) => true,
            None => {
                self.lit(b",\"m\":false")?;
                false
            }
        };
        if self.lit(b",\"M\":true").is_none() {
            // Its absence is as good as its presence: nothing reads it.
            let _ = self.lit(b",\"M\":false");
        }
        Some(buyer_is_maker)
    }

    #[inline(always)]
    fn levels(&mut self, levels: &mut Vec<Level>) -> Option<Range<usize>> {
        let start = levels.len();
        self.lit(b"[")?;
        if self.lit(b"]").is_some() {
            return Some(start..start);
        }
        loop {
            self.lit(b"[\"")?;
            let price = self.number()?;
            self.lit(b"\",\"")?;
            let size = self.number()?;
            self.lit(b"\"]")?;
            levels.push(Level { price, size });
            if self.lit(b",").is_none() {
                self.lit(b"]")?;
                return Some(start..levels.len());
            }
        }
    }
}
