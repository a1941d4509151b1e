//! Which column each block stands in: short wires first, calls from left to right, columns of about one height.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::diagram::{Diagram, Kind};

/// Of a picture: wider than high, as screens and pages in a browser are.
const ASPECT: f64 = 1.5;
/// Blocks up to which pairs are exchanged too; the time grows with the square.
const SWAPS_UP_TO: usize = 160;
/// Rounds of improvement; it rarely takes more than five.
const ROUNDS: usize = 12;

/// Size of a block, in pixels, roughly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub width: f64,
    pub height: f64,
}

/// The column of each block, counted from the left; none is left out.
pub(super) fn assign(diagram: &Diagram, sizes: &[Size], gap: f64) -> Vec<usize> {
    let mut placing = Placing::new(diagram, sizes, gap);
    for _ in 0..ROUNDS {
        let moved = placing.move_all();
        let swapped = sizes.len() <= SWAPS_UP_TO && placing.swap_all();
        if !moved && !swapped {
            break;
        }
    }
    without_empty(placing.column)
}

struct Placing<'d> {
    diagram: &'d Diagram,
    heights: Vec<f64>,
    /// Nets of each block, each once.
    nets_of: Vec<Vec<usize>>,
    column: Vec<usize>,
    height_of: Vec<f64>,
    most: f64,
}

impl<'d> Placing<'d> {
    fn new(diagram: &'d Diagram, sizes: &[Size], gap: f64) -> Self {
        let heights: Vec<f64> = sizes.iter().map(|size| size.height).collect();
        let total: f64 = heights.iter().sum();
        let tallest = heights.iter().copied().fold(0.0, f64::max);
        let width = sizes.iter().map(|size| size.width).sum::<f64>() / (sizes.len().max(1) as f64) + gap;
        let wanted = (total * ASPECT / width).sqrt().round() as usize;
        // A column that is as tall as the tallest block costs nothing, so no more columns than fill that height.
        let useful = (total / tallest.max(1.0)).ceil() as usize + 1;
        let count = wanted.min(useful).max(2).min(sizes.len().max(1));
        let mut nets_of = vec![Vec::new(); sizes.len()];
        for (index, net) in diagram.nets.iter().enumerate() {
            for pin in &net.pins {
                if nets_of[pin.block].last() != Some(&index) {
                    nets_of[pin.block].push(index);
                }
            }
        }
        let most = (total / count as f64 * 1.1).max(tallest);
        let mut placing = Self {
            diagram,
            heights,
            nets_of,
            column: vec![0; sizes.len()],
            height_of: vec![0.0; count],
            most,
        };
        placing.fill(count);
        placing
    }

    /// A first arrangement: neighbours follow each other, column after column.
    fn fill(&mut self, count: usize) {
        let share = self.heights.iter().sum::<f64>() / count as f64;
        let mut column = 0;
        for block in self.by_distance() {
            if self.height_of[column] + self.heights[block] / 2.0 > share && column + 1 < count {
                column += 1;
            }
            self.column[block] = column;
            self.height_of[column] += self.heights[block];
        }
    }

    /// Blocks breadth first, each part of the picture from one of its blocks with the fewest wires.
    fn by_distance(&self) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen = vec![false; self.column.len()];
        let mut starts: Vec<usize> = (0..self.column.len()).collect();
        starts.sort_by_key(|block| (self.nets_of[*block].is_empty(), self.nets_of[*block].len()));
        for start in starts {
            let mut due = VecDeque::from([start]);
            while let Some(block) = due.pop_front() {
                if std::mem::replace(&mut seen[block], true) {
                    continue;
                }
                order.push(block);
                for net in &self.nets_of[block] {
                    due.extend(self.diagram.nets[*net].pins.iter().map(|pin| pin.block));
                }
            }
        }
        order
    }

    /// What a net costs: columns it spans, and more for a call that leads to the left.
    fn net_cost(&self, net: usize) -> f64 {
        let net = &self.diagram.nets[net];
        let columns = net.pins.iter().map(|pin| self.column[pin.block]);
        let (mut first, mut last) = (usize::MAX, 0);
        for column in columns {
            (first, last) = (first.min(column), last.max(column));
        }
        let span = last.saturating_sub(first) as f64;
        let same_block = net.pins.iter().all(|pin| pin.block == net.pins[0].block);
        let length = match span {
            _ if same_block => 0.0,
            0.0 => 1.3,
            span => span * 1.6 - 0.6,
        };
        let left = match (net.kind, net.pins.as_slice()) {
            (Kind::Call, [caller, callee]) if !same_block => {
                let (from, to) = (self.column[caller.block] as f64, self.column[callee.block] as f64);
                (from - to + 1.0).max(0.0) * 0.8
            }
            _ => 0.0,
        };
        length + left
    }

    fn cost_of(&self, block: usize) -> f64 {
        self.nets_of[block].iter().map(|net| self.net_cost(*net)).sum()
    }

    /// How far the columns are above the height they may have.
    fn excess(&self) -> f64 {
        self.height_of
            .iter()
            .map(|height| ((height - self.most) / 40.0).max(0.0))
            .map(|over| over * over)
            .sum()
    }

    fn put(&mut self, block: usize, column: usize) {
        self.height_of[self.column[block]] -= self.heights[block];
        self.height_of[column] += self.heights[block];
        self.column[block] = column;
    }

    /// Moves every block to its best column; whether any was moved.
    fn move_all(&mut self) -> bool {
        let mut any = false;
        for block in 0..self.column.len() {
            let here = self.column[block];
            let mut best = (self.cost_of(block) + self.excess() - 1e-6, here);
            for column in 0..self.height_of.len() {
                self.put(block, column);
                let cost = self.cost_of(block) + self.excess();
                if cost < best.0 {
                    best = (cost - 1e-6, column);
                }
            }
            self.put(block, best.1);
            any |= best.1 != here;
        }
        any
    }

    /// Exchanges pairs where that is better; whether any was.
    fn swap_all(&mut self) -> bool {
        let mut any = false;
        for one in 0..self.column.len() {
            for other in one + 1..self.column.len() {
                let (left, right) = (self.column[one], self.column[other]);
                if left == right {
                    continue;
                }
                let before = self.cost_of(one) + self.cost_of(other) + self.excess();
                self.put(one, right);
                self.put(other, left);
                if self.cost_of(one) + self.cost_of(other) + self.excess() < before - 1e-6 {
                    any = true;
                } else {
                    self.put(one, left);
                    self.put(other, right);
                }
            }
        }
        any
    }
}

/// The same columns numbered without holes.
fn without_empty(column: Vec<usize>) -> Vec<usize> {
    let mut used = column.clone();
    used.sort_unstable();
    used.dedup();
    column.into_iter().map(|column| used.binary_search(&column).unwrap_or(0)).collect()
}
