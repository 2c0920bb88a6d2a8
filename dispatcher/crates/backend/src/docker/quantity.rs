//! Amounts as Kubernetes writes them: `500m`, `64Mi`, `1e3`.

/// The amount in cores or bytes; `None` if the text is not an amount.
pub(super) fn parse(text: &str) -> Option<f64> {
    const FACTORS: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let text = text.trim();
    let suffix = FACTORS.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = suffix.unwrap_or((text, 1.0));
    // Rust's parser would accept words such as "inf".
    if !number.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '.' | '+')) {
        return None;
    }
    let amount = number.parse::<f64>().ok()? * factor;
    amount.is_finite().then_some(amount)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        for (text, amount) in [
            ("500m", 0.5),
            ("64Mi", 67_108_864.0),
            ("1", 1.0),
            ("0.5", 0.5),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("1E", 1e18),
            ("2k", 2000.0),
            ("1Gi", 1_073_741_824.0),
        ] {
            assert_eq!(parse(text), Some(amount), "{text}");
        }
        for text in ["", "Mi", "inf", "nan", "-1", "1 Mi B", "1e400", "one"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
