//! The share of verdicts that say a role helped.

use crate::http::portal::components::part;
use crate::model::verdict::Verdicts;

/// The verdicts on a role, in one binding or in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Helped {
    /// The name of the role or of the binding.
    pub name: String,
    pub link: String,
    pub effective: u64,
    /// The number of verdicts other than unknown.
    pub known: u64,
    pub ineffective: u64,
    pub unknown: u64,
}

/// The verdicts in the store, by role and binding.
pub(super) type Known = std::collections::BTreeMap<(String, String), Verdicts>;

impl Helped {
    fn new(name: String, link: String, of: &Verdicts) -> Self {
        Self {
            name,
            link,
            effective: of.effective,
            known: of.effective + of.ineffective,
            ineffective: of.ineffective,
            unknown: of.unknown,
        }
    }

    /// Sums up a role over all bindings.
    pub(super) fn of_role(known: &Known, role: &str) -> Self {
        let mut all = Verdicts::default();
        for ((name, _), verdicts) in known {
            if name == role {
                all.add_all(verdicts);
            }
        }
        Self::new(role.to_owned(), String::new(), &all)
    }

    /// Returns one row per binding of a role.
    pub(super) fn in_bindings(known: &Known, role: &str) -> Vec<Self> {
        let of = known.iter().filter(|((name, _), _)| name == role);
        of.map(|((_, binding), verdicts)| {
            let link = format!("/bindings/{}", part(binding));
            Self::new(binding.clone(), link, verdicts)
        })
        .collect()
    }

    /// Returns one row per role of a binding.
    pub(super) fn by_role(known: &Known, binding: &str) -> Vec<Self> {
        let of = known.iter().filter(|((_, name), _)| name == binding);
        of.map(|((role, _), verdicts)| {
            let link = format!("/roles/{}", part(role));
            Self::new(role.clone(), link, verdicts)
        })
        .collect()
    }

    /// Whether there are verdicts, and all say that the role did not help.
    pub(super) fn never(&self) -> bool {
        self.known > 0 && self.effective == 0
    }

    /// The share that helped. *Units*: thousandths.
    pub(super) fn share(&self) -> u64 {
        (self.effective * 1000).checked_div(self.known).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_never_helped_stands_out_and_what_is_unknown_is_no_proof() {
        let of = |effective, ineffective, unknown| {
            let verdicts = Verdicts {
                effective,
                ineffective,
                unknown,
                ..Verdicts::default()
            };
            let binding = |name: &str| ("restart".to_owned(), name.to_owned());
            let other = ("reboot".to_owned(), "a".to_owned());
            let known = Known::from([
                (binding("a"), verdicts),
                (binding("b"), verdicts),
                (other, verdicts),
            ]);
            assert_eq!(Helped::in_bindings(&known, "restart").len(), 2);
            assert_eq!(Helped::by_role(&known, "a").len(), 2);
            Helped::of_role(&known, "restart")
        };
        let some = of(3, 1, 5);
        assert_eq!((some.effective, some.known, some.unknown), (6, 8, 10));
        assert_eq!((some.never(), some.share()), (false, 750));
        assert!(of(0, 1, 0).never());
        let unknown = of(0, 0, 1);
        assert_eq!((unknown.never(), unknown.share()), (false, 0));
    }
}
