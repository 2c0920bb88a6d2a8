//! The flow as a picture: steps in the order of their events, in rows that read like text, with arrows in between.

use crate::flow::Flow;
use crate::server::format::short_number;
use crate::server::step::StepView;

/// The measures of one picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    columns: usize,
    width: usize,
    height: usize,
    gap_x: usize,
    gap_y: usize,
}

/// For a wide screen.
pub(super) const WIDE: Measure = Measure { columns: 4, width: 264, height: 128, gap_x: 36, gap_y: 48 };
/// For a phone.
pub(super) const NARROW: Measure = Measure { columns: 1, width: 340, height: 128, gap_x: 36, gap_y: 34 };

/// What is drawn.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// Distinguishes two pictures on one page.
    pub(super) name: &'static str,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) ends: Vec<End>,
    pub(super) arrows: Vec<String>,
}

/// A step and its position.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) step: StepView,
}

impl Node {
    /// The position of each count, its name, value and tone; its share of the card depends on its name.
    pub(super) fn counts(&self) -> impl Iterator<Item = (usize, &'static str, String, &'static str)> {
        let width = self.width - 24;
        let cells = PLACES.map(|percent| 16 + percent * width / 100);
        let counts = self.step.counts().map(|(name, count, tone)| match name {
            "dead letters" => ("dead", count, tone),
            _ => (name, count, tone),
        });
        cells.into_iter().zip(counts).map(|(x, (name, count, tone))| (x, name, short_number(count), tone))
    }
}

/// An event that starts no step: the flow ends there.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) subject: String,
}

/// Where the counts of a card begin, in percent of its width.
const PLACES: [usize; 5] = [0, 22, 47, 65, 84];

/// The height of the mark for an end.
const END_HEIGHT: usize = 44;

impl Picture {
    pub(super) fn new(name: &'static str, flow: &Flow, steps: &[StepView], measure: Measure) -> Self {
        let mut links = flow.links.clone();
        let mut ends = Vec::new();
        for (at, step) in flow.steps.iter().enumerate() {
            for subject in &step.ends {
                links.push((at, flow.steps.len() + ends.len()));
                ends.push(subject.clone());
            }
        }
        let cells = cells(flow.steps.len() + ends.len(), &links);
        let grid = Grid::new(&cells, measure);
        let nodes: Vec<_> = steps
            .iter()
            .zip(&cells)
            .map(|(step, cell)| {
                let (x, y) = grid.corner(*cell);
                Node { x, y, width: measure.width, height: measure.height, step: step.clone() }
            })
            .collect();
        let ends: Vec<_> = ends
            .into_iter()
            .zip(cells.iter().skip(flow.steps.len()))
            .map(|(subject, cell)| {
                let (x, y) = grid.corner(*cell);
                let y = y + if measure.columns == 1 { 0 } else { (measure.height - END_HEIGHT) / 2 };
                End { x, y, width: measure.width, height: END_HEIGHT, subject }
            })
            .collect();
        let arrows = links.iter().filter_map(|(from, to)| {
            let to_top = ends.get(to.wrapping_sub(flow.steps.len())).map(|end| end.y);
            Some(grid.arrow(*cells.get(*from)?, *cells.get(*to)?, to_top))
        });
        let bottom = ends.iter().map(|end| end.y + END_HEIGHT);
        let bottom = nodes.iter().map(|node| node.y + node.height).chain(bottom).max().unwrap_or(0);
        Self {
            name,
            width: measure.columns * (measure.width + measure.gap_x) - measure.gap_x,
            height: bottom + 2,
            arrows: arrows.collect(),
            nodes,
            ends,
        }
    }
}

/// The layer of each step, and its index in the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    layer: usize,
    slot: usize,
}

/// The layer is the length of the longest path from a start. In a circle, which `validate` refuses, the search still
/// ends.
fn cells(count: usize, links: &[(usize, usize)]) -> Vec<Cell> {
    let mut layers = vec![0; count];
    for _ in 0..count {
        for (from, to) in links {
            if layers[*from] + 1 > layers[*to] && layers[*from] + 1 < count {
                layers[*to] = layers[*from] + 1;
            }
        }
    }
    let mut cells: Vec<Cell> = layers.iter().map(|layer| Cell { layer: *layer, slot: 0 }).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|at| (layers[*at], *at));
    let mut taken: Vec<Cell> = Vec::new();
    for at in order {
        // Next to the step that starts it, so that a chain becomes a line.
        let wanted = links.iter().find(|(_, to)| *to == at).map_or(0, |(from, _)| cells[*from].slot);
        let free =
            (wanted..=count * 2).find(|slot| !taken.contains(&Cell { layer: layers[at], slot: *slot }));
        cells[at].slot = free.unwrap_or(wanted);
        taken.push(cells[at]);
    }
    cells
}

/// Turns layers into coordinates.
struct Grid {
    measure: Measure,
    /// Where each row of layers begins.
    tops: Vec<usize>,
}

impl Grid {
    fn new(cells: &[Cell], measure: Measure) -> Self {
        let rows = cells.iter().map(|cell| cell.layer / measure.columns).max().unwrap_or(0) + 1;
        let mut tops = Vec::with_capacity(rows);
        let mut top = 1;
        for row in 0..rows {
            tops.push(top);
            let here = cells.iter().filter(|cell| cell.layer / measure.columns == row);
            let slots = here.map(|cell| cell.slot + 1).max().unwrap_or(1);
            top += slots * (measure.height + measure.gap_y);
        }
        Self { measure, tops }
    }

    fn corner(&self, cell: Cell) -> (usize, usize) {
        let Measure { columns, width, height, gap_x, gap_y } = self.measure;
        let x = (cell.layer % columns) * (width + gap_x);
        let top = self.tops.get(cell.layer / columns).copied().unwrap_or(0);
        (x, top + cell.slot * (height + gap_y))
    }

    /// To the right within a row; to another row down, along the gap, and down again.
    fn arrow(&self, from: Cell, to: Cell, to_top: Option<usize>) -> String {
        let Measure { columns, width, height, gap_x, gap_y } = self.measure;
        let ((ax, ay), (bx, by)) = (self.corner(from), self.corner(to));
        let by = to_top.unwrap_or(by);
        if from.layer / columns == to.layer / columns && to.layer > from.layer && columns > 1 {
            let (x1, y1) = (ax + width, ay + height / 2);
            let y2 = if to_top.is_some() { by + END_HEIGHT / 2 } else { by + height / 2 };
            let (x2, middle) = (bx - 5, bx - gap_x / 2);
            return format!("M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}");
        }
        let (x1, y1) = (ax + width / 2, ay + height);
        let (x2, y2) = (bx + width / 2, by.saturating_sub(5));
        if x1 == x2 {
            return format!("M{x1} {y1} L{x2} {y2}");
        }
        let turn = y1 + gap_y / 2;
        let (left, right) = if x2 < x1 { (x1 - 12, x2 + 12) } else { (x1 + 12, x2.saturating_sub(12)) };
        format!(
            "M{x1} {y1} V{} Q{x1} {turn} {left} {turn} H{right} Q{x2} {turn} {x2} {} V{y2}",
            turn - 12,
            turn + 12
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_a_line_and_branches_stand_below_each_other() {
        let cell = |layer, slot| Cell { layer, slot };
        assert_eq!(cells(3, &[(0, 1), (1, 2)]), [cell(0, 0), cell(1, 0), cell(2, 0)]);
        let fork = cells(4, &[(0, 1), (0, 2), (2, 3)]);
        assert_eq!(fork, [cell(0, 0), cell(1, 0), cell(1, 1), cell(2, 1)]);
    }

    #[test]
    fn a_circle_is_drawn_and_does_not_hang() {
        assert_eq!(cells(2, &[(0, 1), (1, 0)]).len(), 2);
    }
}
