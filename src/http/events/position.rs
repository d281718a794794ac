//! A client's position in the events of a run: the `id` of an event.

use std::fmt;

use crate::model::run::State;
use crate::store::RunOffset;

/// A position. *Shape*: events, bytes of output, and the last sent state, as in `12.3456.running`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    pub told: RunOffset,
    pub state: Option<State>,
}

impl Position {
    pub(super) fn parse(id: &str) -> Option<Self> {
        let (events, rest) = id.split_once('.')?;
        let (output_bytes, state) = rest.split_once('.')?;
        let states = [State::Queued, State::Running, State::Finished];
        let known = states.into_iter().find(|known| known.as_str() == state);
        if known.is_none() && state != NONE {
            return None;
        }
        Some(Self {
            told: RunOffset {
                events: events.parse().ok()?,
                output_bytes: output_bytes.parse().ok()?,
            },
            state: known,
        })
    }

    /// Whether this position is not before the other one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.told.events >= other.told.events
            && self.told.output_bytes >= other.told.output_bytes
            && self.state == other.state
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state == Some(State::Finished)
    }
}

const NONE: &str = "none";

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.map_or(NONE, State::as_str);
        write!(f, "{}.{}.{state}", self.told.events, self.told.output_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        for id in ["0.0.none", "12.3456.running", "1.2.finished"] {
            assert_eq!(Position::parse(id).unwrap().to_string(), id);
        }
        for id in [
            "",
            "1.2",
            "1.2.done",
            "-1.2.none",
            "1.x.none",
            "4294967296.0.none",
        ] {
            assert_eq!(Position::parse(id), None, "{id}");
        }
    }
}
