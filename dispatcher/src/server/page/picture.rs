//! The flow as a picture: steps in the order of their events, in rows that read like text, with arrows in between.

use super::format::short_number;
use super::step::StepView;
use crate::flow::Flow;

/// Measures of one picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    columns: usize,
    width: usize,
    height: usize,
    gap_x: usize,
    gap_y: usize,
}

/// For a desk.
pub(super) const WIDE: Measure = Measure { columns: 4, width: 264, height: 128, gap_x: 36, gap_y: 48 };
/// For a hand.
pub(super) const NARROW: Measure = Measure { columns: 1, width: 340, height: 128, gap_x: 36, gap_y: 34 };

/// What is drawn.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// Tells two pictures on one page apart.
    pub(super) name: &'static str,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) ends: Vec<End>,
    pub(super) arrows: Vec<String>,
}

/// A step at its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) step: StepView,
}

impl Node {
    /// Where each number stands, its name, itself and its tone: each as much of the card as its name needs.
    pub(super) fn counts(&self) -> impl Iterator<Item = (usize, &'static str, String, &'static str)> {
        let width = self.width - 24;
        let places = PLACES.map(|percent| 16 + percent * width / 100);
        let counts = self.step.counts().map(|(name, count, tone)| match name {
            "dead letters" => ("dead", count, tone),
            _ => (name, count, tone),
        });
        places.into_iter().zip(counts).map(|(x, (name, count, tone))| (x, name, short_number(count), tone))
    }
}

/// An event that starts nothing: where the flow ends.
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

/// Height of a mark for an end.
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
        let places = places(flow.steps.len() + ends.len(), &links);
        let grid = Grid::new(&places, measure);
        let nodes: Vec<_> = steps
            .iter()
            .zip(&places)
            .map(|(step, place)| {
                let (x, y) = grid.corner(*place);
                Node { x, y, width: measure.width, height: measure.height, step: step.clone() }
            })
            .collect();
        let ends: Vec<_> = ends
            .into_iter()
            .zip(places.iter().skip(flow.steps.len()))
            .map(|(subject, place)| {
                let (x, y) = grid.corner(*place);
                let y = y + if measure.columns == 1 { 0 } else { (measure.height - END_HEIGHT) / 2 };
                End { x, y, width: measure.width, height: END_HEIGHT, subject }
            })
            .collect();
        let arrows = links.iter().filter_map(|(from, to)| {
            let to_top = ends.get(to.wrapping_sub(flow.steps.len())).map(|end| end.y);
            Some(grid.arrow(*places.get(*from)?, *places.get(*to)?, to_top))
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

/// How far from the start, and which of those as far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    layer: usize,
    slot: usize,
}

/// The longest way from a start says the layer; a circle, which `validate` refuses, ends somewhere.
fn places(count: usize, links: &[(usize, usize)]) -> Vec<Place> {
    let mut layers = vec![0; count];
    for _ in 0..count {
        for (from, to) in links {
            if layers[*from] + 1 > layers[*to] && layers[*from] + 1 < count {
                layers[*to] = layers[*from] + 1;
            }
        }
    }
    let mut places: Vec<Place> = layers.iter().map(|layer| Place { layer: *layer, slot: 0 }).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|at| (layers[*at], *at));
    let mut taken: Vec<Place> = Vec::new();
    for at in order {
        // Beside what starts it, so that a chain is a line.
        let wanted = links.iter().find(|(_, to)| *to == at).map_or(0, |(from, _)| places[*from].slot);
        let free =
            (wanted..=count * 2).find(|slot| !taken.contains(&Place { layer: layers[at], slot: *slot }));
        places[at].slot = free.unwrap_or(wanted);
        taken.push(places[at]);
    }
    places
}

/// Places to coordinates.
struct Grid {
    measure: Measure,
    /// Where each row of layers begins.
    tops: Vec<usize>,
}

impl Grid {
    fn new(places: &[Place], measure: Measure) -> Self {
        let rows = places.iter().map(|place| place.layer / measure.columns).max().unwrap_or(0) + 1;
        let mut tops = Vec::with_capacity(rows);
        let mut top = 1;
        for row in 0..rows {
            tops.push(top);
            let here = places.iter().filter(|place| place.layer / measure.columns == row);
            let slots = here.map(|place| place.slot + 1).max().unwrap_or(1);
            top += slots * (measure.height + measure.gap_y);
        }
        Self { measure, tops }
    }

    fn corner(&self, place: Place) -> (usize, usize) {
        let Measure { columns, width, height, gap_x, gap_y } = self.measure;
        let x = (place.layer % columns) * (width + gap_x);
        let top = self.tops.get(place.layer / columns).copied().unwrap_or(0);
        (x, top + place.slot * (height + gap_y))
    }

    /// To the right within a row; down, along the gap and down again to another row.
    fn arrow(&self, from: Place, to: Place, to_top: Option<usize>) -> String {
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
        let place = |layer, slot| Place { layer, slot };
        assert_eq!(places(3, &[(0, 1), (1, 2)]), [place(0, 0), place(1, 0), place(2, 0)]);
        let fork = places(4, &[(0, 1), (0, 2), (2, 3)]);
        assert_eq!(fork, [place(0, 0), place(1, 0), place(1, 1), place(2, 1)]);
    }

    #[test]
    fn a_circle_is_drawn_and_does_not_hang() {
        assert_eq!(places(2, &[(0, 1), (1, 0)]).len(), 2);
    }
}
