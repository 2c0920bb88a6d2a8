//! Statements over many rows with few different texts, so that the database prepares each once.

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

/// `(?, ?), (?, ?)`: so many rows of so many columns.
pub(super) fn rows(rows: usize, columns: usize) -> String {
    vec![format!("({})", marks(columns)); rows].join(", ")
}

/// `?, ?, ?`.
pub(super) fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
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
