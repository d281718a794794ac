//! Numbers of runs, in order: those that several lists of the index agree on, and open ones between them.

use std::borrow::Cow;

use redb::{Range, ReadOnlyTable};

use super::Order;

use crate::store::StoreError;
use crate::store::disk::index::Kind;

pub(super) type Index = ReadOnlyTable<(u8, &'static str, u64), ()>;

/// How many entries of a list are stepped over before the place is looked up instead, which costs about as much.
const STEPS: usize = 8;

/// A run on the way.
pub(super) struct At {
    pub id: u64,
    pub is_finished: bool,
}

/// All numbers, each once.
pub(super) struct Walk<'t> {
    order: Order,
    /// The first is the last.
    open: Vec<u64>,
    finished: Finished<'t>,
    next_finished: Option<u64>,
}

impl<'t> Walk<'t> {
    /// `open` is in the order of numbers.
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

/// Runs that have finished.
pub(super) enum Finished<'t> {
    None,
    /// All runs but these, which are sorted.
    Every(Box<Range<'static, u64, &'static [u8]>>, Vec<u64>),
    /// Those in every one of these lists.
    Meet(Vec<List<'t>>),
}

impl<'t> Finished<'t> {
    /// Those that the index has under each of these names, which are at least one.
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

/// The next number that is in all lists. Each list that lacks it says which one it has next, and the others leap there.
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

/// The runs of one name in the index.
pub(super) struct List<'t> {
    index: &'t Index,
    name: (u8, Cow<'t, str>),
    bounds: (u64, u64),
    order: Order,
    range: Range<'static, (u8, &'static str, u64), ()>,
    /// The run that is next; `None` at the end.
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

    /// Goes on to a number, or the first behind it.
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

/// What comes next.
fn end_of<T>(range: &mut impl DoubleEndedIterator<Item = T>, order: Order) -> Option<T> {
    match order {
        Order::Newest => range.next_back(),
        Order::Oldest => range.next(),
    }
}
