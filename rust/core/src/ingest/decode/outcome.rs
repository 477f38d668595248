//! What can become of a frame: accepted as a type, ignored under a name, or rejected with a reason.
//!
//! Guarantees: all three sets are closed, their names are unique, and a place in a set never changes in a run.
//! Does not: count; the caller of the decoder counts by place.

use crate::named_set;

/// What became of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its ticks were appended.
    Accepted(FrameType),
    /// Documented by the venue, but no tick of ours.
    Ignored(IgnoredType),
    /// Refused; nothing was changed.
    Rejected(RejectReason),
}

named_set! {
    /// The types of frames that become ticks, by the names that the venue gives them.
    pub enum FrameType {
        /// Best bid and ask: one quote.
        BookTicker "bookTicker",
        /// One trade.
        Trade "trade",
        /// One aggregate of trades.
        AggTrade "aggTrade",
        /// Changed price levels: one level tick each.
        DepthUpdate "depthUpdate",
        /// A whole book from REST: level ticks flagged SNAPSHOT.
        Snapshot "snapshot",
        /// A stream's state, as the feed writes it: one status.
        Status "headraceStatus",
        /// Mark and index price, funding to come: one mark.
        MarkPrice "markPriceUpdate",
        /// A position that the venue closed: one liquidation.
        Liquidation "forceOrder",
        /// A candle that closed: its volume, then its prices.
        Kline "kline",
        /// Open contracts, from REST: one open_interest.
        OpenInterest "openInterest",
        /// Settled funding, from REST: one funding.
        Funding "fundingRate",
    }
}

/// A documented frame that is no tick of ours: a place in [`IgnoredType::NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IgnoredType(u8);

impl IgnoredType {
    /// A partial book (`@depth5`, `@depth10`, `@depth20`): the keys of a snapshot or diff, but no base and no diff.
    pub const PARTIAL_DEPTH: IgnoredType = IgnoredType(0);
    /// A diff of the book with retail orders (`@rpiDepth`): a second book, whose ids would break the first one's chain.
    pub const RPI_DEPTH: IgnoredType = IgnoredType(1);
    /// The answer to a request of ours, good or bad.
    pub const REPLY: IgnoredType = IgnoredType(2);
    /// A futures trade that did not happen on the market (insurance fund, price 0).
    pub const TRADE_NON_MARKET: IgnoredType = IgnoredType(3);
    /// The first place that holds the venue's own name of an event.
    const FIRST_EVENT: usize = 4;

    /// Every name; those from the fifth on are what the venue writes in `e`.
    pub const NAMES: [&'static str; 41] = [
        "partial_depth",
        "rpi_depth",
        "reply",
        "trade_non_market",
        "kline",
        "24hrTicker",
        "24hrMiniTicker",
        "1hTicker",
        "4hTicker",
        "1dTicker",
        "avgPrice",
        "serverShutdown",
        "markPriceUpdate",
        "markPrice_kline",
        "indexPriceUpdate",
        "indexPrice_kline",
        "continuous_kline",
        "forceOrder",
        "compositeIndex",
        "contractInfo",
        "assetIndexUpdate",
        "EquityUpdate",
        "CommodityUpdate",
        "blockTrade",
        "eventStreamTerminated",
        "listenKeyExpired",
        "outboundAccountPosition",
        "balanceUpdate",
        "executionReport",
        "listStatus",
        "externalLockUpdate",
        "ACCOUNT_UPDATE",
        "ACCOUNT_CONFIG_UPDATE",
        "MARGIN_CALL",
        "ORDER_TRADE_UPDATE",
        "TRADE_LITE",
        "ALGO_UPDATE",
        "CONDITIONAL_ORDER_TRIGGER_REJECT",
        "STRATEGY_UPDATE",
        "GRID_UPDATE",
        "referencePrice",
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Its place in [`IgnoredType::NAMES`], to count by.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The documented event that the venue names so in `e`.
    #[must_use]
    pub fn from_event(event: &str) -> Option<Self> {
        let place = Self::NAMES[Self::FIRST_EVENT..]
            .iter()
            .position(|name| *name == event)?;
        u8::try_from(place + Self::FIRST_EVENT).ok().map(Self)
    }
}

/// Declares [`RejectReason`]: each reason with its name, what it means, and what to do.
macro_rules! reject_reasons {
    ($($reason:ident $name:literal $meaning:literal $advice:literal,)+) => {
        /// Why a frame was refused: the whole set.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RejectReason {
            $(#[doc = $meaning] $reason,)+
        }

        impl RejectReason {
            /// Every reason with its name, what it means, and what to do.
            pub const TABLE: [(RejectReason, &'static str, &'static str, &'static str); [$($name),+].len()] =
                [$((RejectReason::$reason, $name, $meaning, $advice)),+];

            /// Its name in snake case.
            #[must_use]
            pub fn name(self) -> &'static str {
                Self::TABLE[self as usize].1
            }
        }
    };
}

reject_reasons! {
    FrameTooLong "frame_too_long"
        "the frame has over 4 MiB"
        "ask for fewer levels, or split the file at line ends",
    BadUtf8 "bad_utf8"
        "the frame is not UTF-8"
        "look for a truncated or binary frame",
    TooDeep "too_deep"
        "the frame nests over 16 levels deep"
        "look at where the frame comes from: no venue sends this",
    BadJson "bad_json"
        "the frame is not one JSON value"
        "look for a truncated frame or two frames in one",
    DuplicateKey "duplicate_key"
        "an object names one of the keys that frames use twice"
        "look at where the frame comes from: its meaning is ambiguous",
    MissingField "missing_field"
        "a field that the frame's type needs is not there"
        "check the venue: spot, USD-M and COIN-M frames differ",
    WrongType "wrong_type"
        "a field has another JSON type than documented"
        "compare with the venue's documentation: prices and sizes are strings, ids whole numbers",
    BadNumber "bad_number"
        "a price or size is no plain decimal in the range of a double"
        "look at the text: NaN, inf, hex and blanks are refused",
    Negative "negative"
        "a price or size is below zero"
        "look at where the frame comes from: no venue sends this",
    BadTime "bad_time"
        "a time has neither 13 digits (ms) nor 16 (us)"
        "check the unit of the source's times",
    BadSymbol "bad_symbol"
        "the symbol is empty, over 64 bytes, or holds a blank, a control character, * or ?"
        "look at where the frame comes from",
    UnknownType "unknown_type"
        "the frame is of no documented type"
        "check the venue; if the venue added a type, report it",
    SnapshotWithoutSymbol "snapshot_without_symbol"
        "a snapshot names no symbol, and the source has shown none or several so far"
        "record one symbol a file, or put the symbol into the snapshot",
    TooManyInstruments "too_many_instruments"
        "the frame names one instrument more than instruments_max"
        "raise instruments_max, or subscribe to fewer",
    UnknownInstrument "unknown_instrument"
        "the frame names an instrument that is not configured, and discovery is off"
        "configure the instrument, or turn discovery on",
    BadLine "bad_line"
        "a recorded line is not a receive time in ns, a blank, and a frame"
        "check that the file is a recording",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let reasons: BTreeSet<_> = RejectReason::TABLE.iter().map(|row| row.1).collect();
        let ignored: BTreeSet<_> = IgnoredType::NAMES.into_iter().collect();
        assert_eq!(reasons.len(), RejectReason::TABLE.len());
        assert_eq!(ignored.len(), IgnoredType::NAMES.len());
        assert_eq!(IgnoredType::from_event("kline").map(IgnoredType::name), Some("kline"));
        assert_eq!(IgnoredType::from_event("reply"), None, "our own names are no events");
    }
}
