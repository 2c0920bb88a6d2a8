//! Finds circles in a directed graph: each once, as the nodes on its path.

use std::collections::{BTreeSet, VecDeque};

/// The most circles that are reported.
const MOST: usize = 20;
/// The most steps of a search: a dense graph has too many paths to try all.
const STEPS: usize = 100_000;

/// Every path from a node back to itself that visits no node twice, starting with its smallest node. Finds all of
/// them in a graph that people draw, and at least one for each smallest node in any other, up to [`MOST`].
pub(super) fn circles(next: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let mut walk =
        Walk { next, path: Vec::new(), on_path: vec![false; next.len()], found: Vec::new(), steps: STEPS };
    for start in 0..next.len() {
        let back = ways_back(next, start);
        if let Some(circle) = follow(&back, start).filter(|_| walk.found.len() < MOST) {
            walk.found.push(circle);
            walk.from(start, start, &back);
        }
    }
    walk.found
}

/// For each node from `start` on that can reach `start` through such nodes: the next node on the path.
fn ways_back(next: &[BTreeSet<usize>], start: usize) -> Vec<Option<usize>> {
    let mut back = vec![None; next.len()];
    let mut open = VecDeque::from([start]);
    while let Some(target) = open.pop_front() {
        for node in start..next.len() {
            if back[node].is_none() && next[node].contains(&target) {
                back[node] = Some(target);
                open.push_back(node);
            }
        }
    }
    back
}

/// The shortest circle through `start`.
fn follow(back: &[Option<usize>], start: usize) -> Option<Vec<usize>> {
    let mut circle = vec![start];
    let mut at = back[start]?;
    while at != start {
        circle.push(at);
        at = back[at]?;
    }
    Some(circle)
}

struct Walk<'a> {
    next: &'a [BTreeSet<usize>],
    path: Vec<usize>,
    on_path: Vec<bool>,
    found: Vec<Vec<usize>>,
    steps: usize,
}

impl Walk<'_> {
    /// Finds circles whose smallest node is `start`, so that no circle is found again from another of its nodes.
    fn from(&mut self, start: usize, at: usize, back: &[Option<usize>]) {
        self.path.push(at);
        self.on_path[at] = true;
        for &target in self.next[at].range(start..) {
            if self.found.len() >= MOST || self.steps == 0 {
                break;
            }
            self.steps -= 1;
            if target == start {
                if !self.found.contains(&self.path) {
                    self.found.push(self.path.clone());
                }
            } else if back[target].is_some() && !self.on_path[target] {
                self.from(start, target, back);
            }
        }
        self.path.pop();
        self.on_path[at] = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let nodes = edges.iter().flat_map(|(from, to)| [*from, *to]).max().map_or(0, |most| most + 1);
        let mut next = vec![BTreeSet::new(); nodes];
        for (from, to) in edges {
            next[*from].insert(*to);
        }
        circles(&next)
    }

    #[test]
    fn a_line_and_a_meeting_of_ways_are_no_circle() {
        assert_eq!(of(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(of(&[(0, 1), (1, 2), (0, 2), (2, 3)]), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn every_circle_is_found_once_wherever_it_is_entered() {
        assert_eq!(of(&[(0, 0)]), [[0]]);
        assert_eq!(of(&[(3, 1), (1, 2), (2, 3), (0, 2)]), [[1, 2, 3]]);
        assert_eq!(of(&[(0, 1), (1, 0), (2, 3), (3, 2)]), [[0, 1], [2, 3]]);
        // Two through the same node, and one inside another.
        assert_eq!(of(&[(0, 1), (1, 0), (0, 2), (2, 0)]), [[0, 1], [0, 2]]);
        assert_eq!(of(&[(0, 1), (1, 2), (2, 0), (2, 1)]), [vec![0, 1, 2], vec![1, 2]]);
    }

    #[test]
    fn a_dense_graph_ends_soon() {
        let edges: Vec<_> = (0..60).flat_map(|from| (0..60).map(move |to| (from, to))).collect();
        assert_eq!(of(&edges).len(), MOST);
        // Many paths to try, and only one long path back.
        let mut edges: Vec<_> = (0..200).flat_map(|from| (from + 1..200).map(move |to| (from, to))).collect();
        assert!(of(&edges).is_empty());
        edges.push((199, 0));
        assert!(!of(&edges).is_empty());
    }
}
