//! The plan: which subscriptions get a tick, compiled into one look-up per (instrument, kind).
//!
//! ```text
//!   tick ─▶ cells[kind][instrument + 1] ─▶ set ─▶ members, in registration order
//! ```
//! Guarantees: an unwanted tick costs one look-up; a subscription that does not match costs nothing.
//! Does not: hold handlers. Set 0 is the empty one.

use crate::limits::KINDS_MAX;
use crate::market::instrument::InstrumentTable;
use crate::market::kind::{KindSet, kind_set};
use crate::market::tick::{NO_INSTRUMENT, Tick};

/// What one subscription gets: kinds, and instruments by name or pattern (`*` any text, `?` one character).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Names or patterns; a tick of no instrument passes them all.
    pub instruments: Vec<String>,
    /// The kinds that pass.
    pub kinds: KindSet,
}

impl Filter {
    /// Whether ticks of this instrument pass.
    #[must_use]
    pub fn matches_instrument(&self, name: &str) -> bool {
        self.instruments.iter().any(|pattern| matches_pattern(pattern, name))
    }
}

/// Whether `name` is `pattern`, in which `*` stands for any text and `?` for one character.
#[must_use]
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        // A plain name, and there may be thousands.
        return pattern == name;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some('?') => (p, n) = (p + 1, n + 1),
            Some(c) if *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                // The last star takes one character more.
                Some((star_p, star_n)) => {
                    star = Some((star_p, star_n + 1));
                    (p, n) = (star_p + 1, star_n + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// A compiled plan.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    filters: Vec<Filter>,
    /// By kind, then by row: neighbours in memory are of one kind, as most ticks are.
    cells: Vec<Vec<u32>>,
    sets: Vec<(u8, Vec<u32>)>,
    /// Which filters the last row passes: a row that passes the same ones has the same sets.
    wants: Vec<bool>,
}

impl Plan {
    /// Compiles filters, in registration order, for the instruments known so far.
    #[must_use]
    pub fn compile(filters: Vec<Filter>, kinds: usize, instruments: &InstrumentTable) -> Self {
        let mut plan = Self {
            filters,
            cells: vec![Vec::new(); kinds + 1],
            sets: vec![(0, Vec::new())],
            wants: Vec::new(),
        };
        plan.push_instrument(None);
        plan.extend(instruments);
        plan
    }

    /// Adds the cells of instruments that appeared since. Sets may be added; none is changed.
    pub fn extend(&mut self, instruments: &InstrumentTable) {
        let known = self.rows() - 1;
        for instrument in &instruments.rows()[known..] {
            self.push_instrument(Some(&instrument.name));
        }
    }

    /// Instruments, and the row of ticks of none.
    fn rows(&self) -> usize {
        self.cells[0].len()
    }

    fn push_instrument(&mut self, name: Option<&str>) {
        let wants: Vec<bool> = self
            .filters
            .iter()
            .map(|filter| name.is_none_or(|name| filter.matches_instrument(name)))
            .collect();
        if self.rows() > 0 && wants == self.wants {
            for of_kind in &mut self.cells {
                of_kind.extend(of_kind.last().copied());
            }
            return;
        }
        for kind in 0..self.cells.len() {
            let kind = u8::try_from(kind).expect("KINDS_MAX kinds at most");
            let bit = if usize::from(kind) < KINDS_MAX {
                kind_set(kind)
            } else {
                0
            };
            let members: Vec<u32> = (0u32..)
                .zip(self.filters.iter().zip(&wants))
                .filter(|(_, (filter, wants))| **wants && filter.kinds & bit != 0)
                .map(|(index, _)| index)
                .collect();
            let known = self
                .sets
                .iter()
                .position(|(of, set)| *set == members && (*of == kind || members.is_empty()));
            let set = known.unwrap_or_else(|| {
                self.sets.push((kind, members));
                self.sets.len() - 1
            });
            self.cells[usize::from(kind)].push(u32::try_from(set).expect("fewer sets than cells"));
        }
        self.wants = wants;
    }

    /// The set of a tick; `None` when its instrument appeared after the last [`Plan::extend`].
    #[inline]
    #[must_use]
    pub fn set_of(&self, tick: &Tick) -> Option<u32> {
        // NO_INSTRUMENT wraps to row 0; the cells of kind 0, which no tick has, serve kinds beyond the table.
        let row = tick.instrument.wrapping_add(1) as usize;
        let of_kind = self.cells.get(usize::from(tick.kind)).or_else(|| self.cells.first())?;
        of_kind.get(row).copied()
    }

    /// The kind and the members of every set; set 0 is the empty one of every kind.
    #[must_use]
    pub fn sets(&self) -> &[(u8, Vec<u32>)] {
        &self.sets
    }
}

const _: () = assert!(NO_INSTRUMENT.wrapping_add(1) == 0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::kind::{QUOTE, TRADE};

    #[test]
    fn patterns_match_as_shells_do() {
        for (pattern, name, matches) in [
            ("*", "BTCUSDT.BINANCE", true),
            ("BTC*.BINANCE", "BTCUSDT.BINANCE", true),
            ("BTC*.BINANCE", "BTCUSDT.BINANCE_USDM", false),
            ("*USDT.BINANCE*", "ETHUSDT.BINANCE_USDM", true),
            ("?TCUSDT.BINANCE", "BTCUSDT.BINANCE", true),
            ("?BTCUSDT.BINANCE", "BTCUSDT.BINANCE", false),
            ("BTCUSDT.BINANCE", "BTCUSDT.BINANC", false),
            ("a*b*c", "a-b-b-c", true),
        ] {
            assert_eq!(matches_pattern(pattern, name), matches, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_tick_finds_exactly_the_subscriptions_whose_filter_it_passes() {
        let mut instruments = InstrumentTable::new(100, true);
        instruments.add("BTCUSDT.BINANCE").unwrap();
        let filter = |pattern: &str, kinds| Filter {
            instruments: vec![pattern.to_owned()],
            kinds,
        };
        let filters = vec![
            filter("BTC*", kind_set(QUOTE)),
            filter("ETH*", u64::MAX),
            filter("*", kind_set(TRADE)),
        ];
        let mut plan = Plan::compile(filters, 7, &instruments);
        let tick = |instrument, kind| Tick {
            instrument,
            kind,
            ..Tick::default()
        };
        let members = |plan: &Plan, tick: &Tick| plan.set_of(tick).map(|set| plan.sets()[set as usize].1.clone());
        assert_eq!(members(&plan, &tick(0, QUOTE)), Some(vec![0]));
        assert_eq!(members(&plan, &tick(0, TRADE)), Some(vec![2]));
        assert_eq!(members(&plan, &tick(1, QUOTE)), None, "not compiled yet");
        instruments.add("ETHUSDT.BINANCE").unwrap();
        plan.extend(&instruments);
        assert_eq!(members(&plan, &tick(1, TRADE)), Some(vec![1, 2]));
        assert_eq!(members(&plan, &tick(NO_INSTRUMENT, QUOTE)), Some(vec![0, 1]));
    }

    #[test]
    fn neighbours_that_pass_other_filters_have_other_sets() {
        let mut instruments = InstrumentTable::new(100, true);
        let names = [
            "BTC1.BINANCE",
            "BTC2.BINANCE",
            "ETH1.BINANCE",
            "BTC3.BINANCE",
            "SOL1.BINANCE",
        ];
        for name in names {
            instruments.add(name).unwrap();
        }
        let filter = |pattern: &str, kinds| Filter {
            instruments: vec![pattern.to_owned()],
            kinds,
        };
        let filters = vec![
            filter("BTC*", kind_set(QUOTE)),
            filter("ETH*", kind_set(QUOTE) | kind_set(TRADE)),
        ];
        let plan = Plan::compile(filters, 7, &instruments);
        let members = |instrument, kind| {
            let tick = Tick {
                instrument,
                kind,
                ..Tick::default()
            };
            plan.sets()[plan.set_of(&tick).expect("it is known") as usize].1.clone()
        };
        let of_quotes: Vec<Vec<u32>> = (0..5).map(|instrument| members(instrument, QUOTE)).collect();
        let expected: [&[u32]; 5] = [&[0], &[0], &[1], &[0], &[]];
        assert_eq!(of_quotes, expected);
        let of_trades: Vec<Vec<u32>> = (0..5).map(|instrument| members(instrument, TRADE)).collect();
        let expected: [&[u32]; 5] = [&[], &[], &[1], &[], &[]];
        assert_eq!(of_trades, expected);
        assert!(members(1, 200).is_empty(), "a kind beyond the table");
    }
}
