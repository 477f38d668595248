//! Closed sets with names: an enum and the table of its names, written once.
//!
//! Guarantees: every member has one name of its own, and stands in `ALL` at its place.
//! Does not: say what the members mean; their comments do.

/// Declares an enum whose members have names: ``Member "name"``, or ``Member = 3 "name"``.
#[macro_export]
macro_rules! named_set {
    ($(#[$about:meta])* $visible:vis enum $set:ident { $($(#[$member_about:meta])* $member:ident $(= $number:literal)? $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visible enum $set {
            $($(#[$member_about])* $member $(= $number)?,)+
        }

        #[allow(dead_code, reason = "not every set is used both ways")]
        impl $set {
            /// Every member, in order.
            $visible const ALL: [Self; [$($name),+].len()] = [$(Self::$member),+];

            /// Its name.
            #[must_use]
            $visible const fn name(self) -> &'static str {
                match self {
                    $(Self::$member => $name,)+
                }
            }

            /// The member with this name.
            #[must_use]
            $visible fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$member),)+
                    _ => None,
                }
            }
        }
    };
}
