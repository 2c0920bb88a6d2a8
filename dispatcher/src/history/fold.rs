//! Statements over many rows with few different texts: in a file each is prepared once.

/// How many rows one statement takes.
const SIZES: [usize; 3] = [64, 8, 1];

/// The items in groups of the sizes.
pub(super) fn groups<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rest.len())?;
        let (group, more) = rest.split_at(size);
        rest = more;
        Some(group)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn groups_hold_every_item_once_in_few_sizes() {
        let items: Vec<_> = (0..82).collect();
        let sizes: Vec<_> = super::groups(&items).map(<[_]>::len).collect();
        assert_eq!(sizes, [64, 8, 8, 1, 1]);
        assert_eq!(super::groups(&items).flatten().copied().collect::<Vec<_>>(), items);
    }
}
