//! How the panels lie: rows that ask, panels below them that answer, and nothing on top of anything else.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{self, text};

/// Grafana's grid has so many columns.
const COLUMNS: u64 = 24;

#[test]
fn every_row_asks_a_question_and_has_panels() {
    for dashboard in model::all() {
        let grid = dashboard.grid();
        assert_eq!(grid[0]["type"], "row", "{}", dashboard.name);
        for (at, row) in grid.iter().enumerate().filter(|(_, p)| p["type"] == "row") {
            let place = dashboard.place(row);
            assert!(text(&row["title"]).ends_with('?'), "{place}");
            assert_eq!(row["gridPos"]["w"], COLUMNS, "{place}");
            let next = grid.get(at + 1).map(|p| text(&p["type"]));
            assert!(next.is_some_and(|kind| kind != "row"), "{place} is empty");
        }
    }
}

#[test]
fn panels_lie_within_the_grid_and_not_on_each_other() {
    for dashboard in model::all() {
        let mut taken: BTreeMap<(u64, u64), String> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        let mut last = (0, 0);
        for panel in dashboard.grid() {
            let place = dashboard.place(panel);
            assert!(ids.insert(panel["id"].as_u64()), "{place}: its id is taken");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| {
                let side = panel["gridPos"][side].as_u64();
                side.unwrap_or_else(|| panic!("{place} has no place"))
            });
            assert!(w > 0 && h > 0 && x + w <= COLUMNS, "{place}: {x} + {w}");
            assert!((y, x) >= last, "{place} is not in reading order");
            last = (y, x);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                let before = taken.insert(cell, place.clone());
                assert!(before.is_none(), "{place} lies on {before:?}");
            }
            // Grafana would move it up, and it would not lie where the file says.
            let rests = y == 0 || (x..x + w).any(|x| taken.contains_key(&(x, y - 1)));
            assert!(rests, "{place} has nothing above it");
        }
    }
}
