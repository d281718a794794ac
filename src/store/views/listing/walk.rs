//! Iterates over the numbers of runs in order: the intersection of several lists of the index, merged with open runs.

use std::borrow::Cow;

use redb::{Range, ReadOnlyTable};

use super::Order;

use crate::store::StoreError;
use crate::store::disk::index::Kind;

pub(super) type Index = ReadOnlyTable<(u8, &'static str, u64), ()>;

/// The number of entries to step over before a new lookup is used instead, which costs about as much.
const STEPS: usize = 8;

/// A run of the walk.
pub(super) struct At {
    pub id: u64,
    pub is_finished: bool,
}

/// The walk over all numbers, without duplicates.
pub(super) struct Walk<'t> {
    order: Order,
    /// In reverse order: the last element comes first.
    open: Vec<u64>,
    finished: Finished<'t>,
    next_finished: Option<u64>,
}

impl<'t> Walk<'t> {
    /// Starts a walk. `open` is sorted by number.
    pub(super) fn begin(
        order: Order,
        mut open: Vec<u64>,
        mut finished: Finished<'t>,
    ) -> Result<Self, StoreError> {
        if order == Order::Oldest {
            open.reverse();
        }
        let next_finished = finished.next(order)?;
        Ok(Self {
            order,
            open,
            finished,
            next_finished,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<At>, StoreError> {
        let finished = self.next_finished;
        let comes_first =
            |open: &u64| finished.is_none_or(|finished| self.order.puts_before(*open, finished));
        if self.open.last().is_some_and(comes_first) {
            let at = |id| At {
                id,
                is_finished: false,
            };
            return Ok(self.open.pop().map(at));
        }
        self.next_finished = match finished {
            Some(_) => self.finished.next(self.order)?,
            None => None,
        };
        Ok(finished.map(|id| At {
            id,
            is_finished: true,
        }))
    }
}

/// The finished runs.
pub(super) enum Finished<'t> {
    None,
    /// All runs except these, which are sorted.
    Every(Box<Range<'static, u64, &'static [u8]>>, Vec<u64>),
    /// The runs that are in all of these lists.
    Meet(Vec<List<'t>>),
}

impl<'t> Finished<'t> {
    /// Creates the intersection of the index entries of these names, of which there is at least one.
    pub(super) fn meet(
        index: &'t Index,
        names: Vec<(Kind, Cow<'t, str>)>,
        bounds: (u64, u64),
        order: Order,
    ) -> Result<Self, StoreError> {
        let lists = names
            .into_iter()
            .map(|(kind, name)| List::begin(index, (kind as u8, name), bounds, order))
            .collect::<Result<_, _>>()?;
        Ok(Self::Meet(lists))
    }

    fn next(&mut self, order: Order) -> Result<Option<u64>, StoreError> {
        match self {
            Self::None => Ok(None),
            Self::Every(range, open) => {
                while let Some(row) = end_of(&mut **range, order) {
                    let id = row?.0.value();
                    if open.binary_search(&id).is_err() {
                        return Ok(Some(id));
                    }
                }
                Ok(None)
            }
            Self::Meet(lists) => agreed(lists),
        }
    }
}

/// Returns the next number that is in all lists. Each list without it proposes its next number, and the others skip
/// there.
fn agreed(lists: &mut [List<'_>]) -> Result<Option<u64>, StoreError> {
    let Some(mut id) = lists.first().and_then(|list| list.at) else {
        return Ok(None);
    };
    let mut agree = 0;
    while agree < lists.len() {
        agree = 0;
        for list in &mut *lists {
            match list.leap(id)? {
                None => return Ok(None),
                Some(found) if found == id => agree += 1,
                Some(found) => id = found,
            }
        }
    }
    lists[0].step()?;
    Ok(Some(id))
}

/// The runs of one index entry.
pub(super) struct List<'t> {
    index: &'t Index,
    name: (u8, Cow<'t, str>),
    bounds: (u64, u64),
    order: Order,
    range: Range<'static, (u8, &'static str, u64), ()>,
    /// The current run; `None` at the end.
    at: Option<u64>,
}

impl<'t> List<'t> {
    fn begin(
        index: &'t Index,
        name: (u8, Cow<'t, str>),
        bounds: (u64, u64),
        order: Order,
    ) -> Result<Self, StoreError> {
        let mut list = Self {
            index,
            range: range(index, &name, bounds)?,
            name,
            bounds,
            order,
            at: None,
        };
        list.step()?;
        Ok(list)
    }

    /// Advances to a number, or to the first one after it.
    fn leap(&mut self, to: u64) -> Result<Option<u64>, StoreError> {
        let mut steps = 0;
        while let Some(at) = self.at
            && self.order.puts_before(at, to)
        {
            if steps == STEPS {
                let (low, high) = self.bounds;
                let bounds = match self.order {
                    Order::Newest => (low, to),
                    Order::Oldest => (to, high),
                };
                self.range = range(self.index, &self.name, bounds)?;
            }
            steps += 1;
            self.step()?;
        }
        Ok(self.at)
    }

    fn step(&mut self) -> Result<(), StoreError> {
        self.at = match end_of(&mut self.range, self.order) {
            Some(row) => Some(row?.0.value().2),
            None => None,
        };
        Ok(())
    }
}

fn range(
    index: &Index,
    (kind, name): &(u8, Cow<'_, str>),
    (low, high): (u64, u64),
) -> Result<Range<'static, (u8, &'static str, u64), ()>, StoreError> {
    Ok(index.range((*kind, &**name, low)..=(*kind, &**name, high))?)
}

/// Returns the next element in this order.
fn end_of<T>(range: &mut impl DoubleEndedIterator<Item = T>, order: Order) -> Option<T> {
    match order {
        Order::Newest => range.next_back(),
        Order::Oldest => range.next(),
    }
}
