//! What the answers of other servers mean: one table for each protocol, for the documents.

/// A row: the meaning of an answer, and the exit code.
pub type Row = (String, u8);

/// The tables by name.
pub fn tables() -> [(&'static str, Vec<Row>); 5] {
    [
        ("tls", crate::tls::rows()),
        ("http", crate::http::statuses()),
        ("smtp", crate::mail::answers()),
        ("database", crate::database::faults()),
        ("nats", crate::nats::refusals()),
    ]
}

/// A table as Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let lines = rows.iter().map(|(about, code)| format!("| {about} | {code} |\n"));
    "| answer | exit code |\n|---|---|\n".to_owned() + &lines.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_show_the_tables_as_they_are() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../dispatcher/docs/exit-codes.md");
        let document = std::fs::read_to_string(path).unwrap();
        let wanted = tables().map(|(name, rows)| format!("<!-- {name} -->\n{}", markdown(&rows)));
        let missing: Vec<_> = wanted.into_iter().filter(|table| !document.contains(table)).collect();
        assert!(missing.is_empty(), "put this into {path}:\n\n{}", missing.join("\n"));
    }
}
