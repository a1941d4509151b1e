//! What stands above what in each column, and at which height every wire leaves its box.
//!
//! All heights are on a grid of [`ROW`]. The columns are shifted against each other by half a row, so that no wire of one
//! column is at the height of a wire of the next: between two columns they never share a stretch.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::diagram::{Block, Diagram};
use crate::sdf::{PdIndex, System};

/// Pixels between two wires that leave one side of a box.
pub(super) const ROW: i32 = 14;
/// Rows of a PD's own part: its name, and a line about it.
const HEAD_ROWS: i32 = 3;
/// Rows of a region's box.
const REGION_ROWS: i32 = 2;
/// Rounds of rearrangement; the best one is kept.
const ROUNDS: usize = 24;

/// Where a wire meets a block or passes a column.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub item: usize,
    pub net: usize,
    /// Index of the pin in its net; `None` where the wire only passes.
    pub pin: Option<usize>,
    /// The gap it leads to: gap n is to the right of column n.
    pub gap: usize,
    /// Below the item's top edge.
    pub offset: i32,
}

/// A PD, or the region where there is none, and whether it is its right side.
type Side = (Option<PdIndex>, bool);

/// What takes room in a column.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// `None`: a wire that passes.
    pub block: Option<usize>,
    pub column: usize,
    pub top: i32,
    pub height: i32,
    ports: Vec<usize>,
}

/// Everything in its row.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub items: Vec<Item>,
    pub ports: Vec<Port>,
    /// Ports of each net in each gap.
    pub joints: BTreeMap<(usize, usize), Vec<usize>>,
    /// Items of each column, from the top.
    columns: Vec<Vec<usize>>,
}

/// Height of a PD's own part, with this many wires at its busier side.
pub(super) fn head_height(ports: usize) -> i32 {
    ROW * (ports as i32).max(HEAD_ROWS)
}

/// Where the PDs of a block stand, relative to its top: own part, height with children; children after their parent.
pub(super) fn tree(
    system: &System,
    root: PdIndex,
    ports: &dyn Fn(PdIndex) -> usize,
) -> Vec<(PdIndex, i32, i32)> {
    let mut placed = Vec::new();
    place(system, root, ports, 0, &mut placed);
    placed
}

/// Recursive: the depth of a system file is bounded. Returns the height.
fn place(
    system: &System,
    pd: PdIndex,
    ports: &dyn Fn(PdIndex) -> usize,
    top: i32,
    placed: &mut Vec<(PdIndex, i32, i32)>,
) -> i32 {
    let at = placed.len();
    placed.push((pd, top, 0));
    let mut height = head_height(ports(pd));
    let own = |parent: PdIndex| move |other: &Option<(PdIndex, u8)>| other.is_some_and(|(p, _)| p == parent);
    let children: Vec<PdIndex> =
        system.indexed_pds().filter(|(_, other)| own(pd)(&other.parent)).map(|(index, _)| index).collect();
    for child in &children {
        height += place(system, *child, ports, top + height, placed) + ROW;
    }
    placed[at].2 = height;
    height
}

impl Rows {
    pub(super) fn of(system: &System, diagram: &Diagram, column: &[usize]) -> Self {
        let mut rows = Self::start(system, diagram, column);
        let mut best = (rows.length(), rows.clone());
        let count = rows.columns.len();
        for round in 0..ROUNDS {
            let forward = round % 2 == 0;
            for step in 0..count {
                rows.rearrange(if forward { step } else { count - 1 - step });
            }
            rows.sort_ports(system, diagram);
            let length = rows.length();
            if length < best.0 {
                best = (length, rows.clone());
            }
        }
        let mut rows = best.1;
        rows.snap_to_grid();
        rows
    }

    fn start(system: &System, diagram: &Diagram, column: &[usize]) -> Self {
        let count = column.iter().copied().max().map_or(0, |last| last + 1);
        let mut rows = Self {
            items: Vec::new(),
            ports: Vec::new(),
            joints: BTreeMap::new(),
            columns: vec![Vec::new(); count],
        };
        for (block, column) in column.iter().enumerate() {
            rows.columns[*column].push(block);
            rows.items.push(Item {
                block: Some(block),
                column: *column,
                top: 0,
                height: ROW,
                ports: Vec::new(),
            });
        }
        for net in 0..diagram.nets.len() {
            rows.connect(diagram, column, net);
        }
        for (index, port) in rows.ports.iter().enumerate() {
            rows.joints.entry((port.gap, port.net)).or_default().push(index);
        }
        rows.sort_ports(system, diagram);
        for column in 0..count {
            rows.stack(column);
        }
        rows
    }

    /// Gives each pin of a net a port, and the net a row in every column that it has to pass.
    fn connect(&mut self, diagram: &Diagram, column: &[usize], net: usize) {
        let pins = &diagram.nets[net].pins;
        let columns = || pins.iter().map(|pin| column[pin.block]);
        let (first, last) = (columns().min().unwrap_or(0), columns().max().unwrap_or(0));
        for (index, pin) in pins.iter().enumerate() {
            let at = column[pin.block];
            let gap = if at == first { at } else { at - 1 };
            self.port(pin.block, net, Some(index), gap);
        }
        for between in first + 1..last {
            let item = self.items.len();
            self.items.push(Item { block: None, column: between, top: 0, height: ROW, ports: Vec::new() });
            self.columns[between].push(item);
            self.port(item, net, None, between - 1);
            self.port(item, net, None, between);
        }
    }

    fn port(&mut self, item: usize, net: usize, pin: Option<usize>, gap: usize) {
        self.items[item].ports.push(self.ports.len());
        self.ports.push(Port { item, net, pin, gap, offset: ROW / 2 });
    }

    /// Height of a port in the picture.
    pub(super) fn y(&self, port: usize) -> i32 {
        let port = &self.ports[port];
        self.items[port.item].top + port.offset
    }

    /// Where the other ends of a port's wire are, on average.
    fn target(&self, port: usize) -> Option<f64> {
        let Port { gap, net, .. } = &self.ports[port];
        let joint = self.joints.get(&(*gap, *net))?;
        let others = joint.iter().filter(|other| **other != port);
        let (count, sum) =
            others.fold((0, 0.0), |(count, sum), other| (count + 1, sum + f64::from(self.y(*other))));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// Orders the items of a column by where their wires lead, and moves them there as far as there is room.
    fn rearrange(&mut self, column: usize) {
        let wish = |rows: &Self, item: usize| {
            let own = &rows.items[item];
            let tops: Vec<f64> = own
                .ports
                .iter()
                .filter_map(|port| Some(rows.target(*port)? - f64::from(rows.ports[*port].offset)))
                .collect();
            match tops.len() {
                0 => f64::from(own.top),
                count => tops.iter().sum::<f64>() / count as f64,
            }
        };
        let mut order: Vec<(f64, usize)> =
            self.columns[column].iter().map(|item| (wish(self, *item), *item)).collect();
        let middle = |(top, item): &(f64, usize)| top + f64::from(self.items[*item].height) / 2.0;
        order.sort_by(|one, other| middle(one).total_cmp(&middle(other)));
        self.columns[column] = order.iter().map(|(_, item)| *item).collect();
        let distances: Vec<f64> =
            order.windows(2).map(|pair| f64::from(self.distance(pair[0].1, pair[1].1))).collect();
        let weights: Vec<f64> =
            order.iter().map(|(_, item)| 1.0 + self.items[*item].ports.len() as f64).collect();
        let wishes: Vec<f64> = order.iter().map(|(top, _)| *top).collect();
        for ((_, item), top) in order.iter().zip(nearest_in_order(&wishes, &weights, &distances)) {
            self.items[*item].top = top.round() as i32;
        }
    }

    /// From the top of one item to the top of the next below it.
    fn distance(&self, above: usize, below: usize) -> i32 {
        let wires = self.items[above].block.is_none() && self.items[below].block.is_none();
        self.items[above].height + if wires { 0 } else { ROW }
    }

    /// Heights from the number of ports; ports of each side of each PD in the order of where they lead.
    fn sort_ports(&mut self, system: &System, diagram: &Diagram) {
        for item in 0..self.items.len() {
            let Some(block) = self.items[item].block else { continue };
            let mut groups: BTreeMap<Side, Vec<(f64, usize)>> = BTreeMap::new();
            for port in self.items[item].ports.clone() {
                let Port { net, pin, gap, .. } = &self.ports[port];
                let pd = pin.and_then(|pin| diagram.nets[*net].pins[pin].pd);
                let right = *gap == self.items[item].column;
                let target = self.target(port).unwrap_or_else(|| f64::from(self.y(port)));
                groups.entry((pd, right)).or_default().push((target, port));
            }
            for group in groups.values_mut() {
                group.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
            }
            let busier = |pd: Option<PdIndex>| {
                let side = |right| groups.get(&(pd, right)).map_or(0, Vec::len);
                side(true).max(side(false))
            };
            let parts: Vec<(Option<PdIndex>, i32, i32)> = match diagram.blocks[block] {
                Block::Tree(root) => {
                    let tree = tree(system, root, &|pd| busier(Some(pd)));
                    self.items[item].height = tree.first().map_or(ROW, |(_, _, height)| *height);
                    tree.into_iter()
                        .map(|(pd, top, _)| (Some(pd), top, head_height(busier(Some(pd))) / ROW))
                        .collect()
                }
                Block::Region(_) => {
                    let rows = (busier(None) as i32).max(REGION_ROWS);
                    self.items[item].height = rows * ROW;
                    vec![(None, 0, rows)]
                }
            };
            for (pd, top, rows) in parts {
                for right in [false, true] {
                    let group = groups.get(&(pd, right)).map_or(&[][..], Vec::as_slice);
                    let first = (rows - group.len() as i32) / 2;
                    for (row, (_, port)) in (first..).zip(group) {
                        self.ports[*port].offset = top + row * ROW + ROW / 2;
                    }
                }
            }
        }
    }

    /// One below the other, without regard to wires.
    fn stack(&mut self, column: usize) {
        let order = self.columns[column].clone();
        let mut top = 0;
        for (at, item) in order.iter().enumerate() {
            self.items[*item].top = top;
            if let Some(next) = order.get(at + 1) {
                top += self.distance(*item, *next);
            }
        }
    }

    /// What is to be small: vertical wire.
    fn length(&self) -> i64 {
        let span = |joint: &Vec<usize>| {
            let heights = || joint.iter().map(|port| i64::from(self.y(*port)));
            heights().max().unwrap_or(0) - heights().min().unwrap_or(0)
        };
        self.joints.values().map(span).sum()
    }

    /// Tops to the grid, nothing nearer together than it may be, the highest at 0.
    fn snap_to_grid(&mut self) {
        for column in 0..self.columns.len() {
            let shift = if column % 2 == 0 { 0 } else { ROW / 2 };
            let mut least = i32::MIN;
            for at in 0..self.columns[column].len() {
                let item = self.columns[column][at];
                let top = (self.items[item].top - shift).div_euclid(ROW) * ROW + shift;
                self.items[item].top = top.max(least);
                if let Some(next) = self.columns[column].get(at + 1) {
                    least = self.items[item].top + self.distance(item, *next);
                }
            }
        }
        let highest = self.items.iter().map(|item| item.top).min().unwrap_or(0).div_euclid(ROW) * ROW;
        for item in &mut self.items {
            item.top -= highest;
        }
    }
}

/// Positions nearest to the wishes (least squares) with at least the given distances between neighbours: neighbours whose
/// wishes collide are pooled and moved together.
fn nearest_in_order(wishes: &[f64], weights: &[f64], distances: &[f64]) -> Vec<f64> {
    struct Pool {
        sum: f64,
        weight: f64,
        count: usize,
    }
    let before: Vec<f64> = std::iter::once(0.0)
        .chain(distances.iter().scan(0.0, |sum, distance| {
            *sum += distance;
            Some(*sum)
        }))
        .collect();
    let mut pools: Vec<Pool> = Vec::new();
    for ((wish, weight), before) in wishes.iter().zip(weights).zip(&before) {
        pools.push(Pool { sum: (wish - before) * weight, weight: *weight, count: 1 });
        while let [.., above, below] = pools.as_slice()
            && above.sum / above.weight > below.sum / below.weight
        {
            let joined = Pool {
                sum: above.sum + below.sum,
                weight: above.weight + below.weight,
                count: above.count + below.count,
            };
            pools.truncate(pools.len() - 2);
            pools.push(joined);
        }
    }
    let at = pools.iter().flat_map(|pool| std::iter::repeat_n(pool.sum / pool.weight, pool.count));
    at.zip(&before).map(|(at, before)| at + before).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_met_where_there_is_room() {
        assert_eq!(nearest_in_order(&[0.0, 50.0], &[1.0, 1.0], &[20.0]), [0.0, 50.0]);
        assert_eq!(nearest_in_order(&[10.0, 10.0], &[1.0, 1.0], &[20.0]), [0.0, 20.0]);
        assert_eq!(
            nearest_in_order(&[10.0, 10.0, 100.0], &[3.0, 1.0, 1.0], &[20.0, 20.0]),
            [5.0, 25.0, 100.0]
        );
        assert!(nearest_in_order(&[], &[], &[]).is_empty());
    }
}
