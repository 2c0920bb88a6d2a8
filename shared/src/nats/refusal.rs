//! The meaning of the JetStream API's errors, by number. One table for workers and dispatcher.

use crate::error::Class;

/// By `err_code` of the API; the first row with the number counts.
const TABLE: &[(Class, &str, &[u64])] = &[
    (
        Class::Input,
        "the event is larger than the stream or the server takes (max_msg_size, max_payload)",
        &[10_054, 10_097],
    ),
    (Class::Configuration, "JetStream is off for this server or account", &[10_039, 10_076, 10_035]),
    (Class::Configuration, "replicas need a cluster, or more servers in it", &[10_074]),
    (Class::Configuration, "a setting of the stream, such as NATS_REPLICAS", &[10_052]),
    (Class::Configuration, "another stream takes the subject, or has the name", &[10_060, 10_065, 10_058]),
    (Class::Configuration, "the account may have no more streams or consumers", &[10_026, 10_027]),
    (Class::Unavailable, "the stream does not exist; the dispatcher makes it when it starts", &[10_059]),
    (
        Class::Unavailable,
        "storage, memory or a quota is used up, or the stream is full",
        &[10_002, 10_023, 10_028, 10_047, 10_077, 10_120, 10_122],
    ),
    (
        Class::Unavailable,
        "the cluster has no leader or too few servers now",
        &[10_005, 10_008, 10_009, 10_004],
    ),
];

/// The class of an error: by its number, otherwise by its code, which is like an HTTP status.
pub fn about(code: u64, number: u64) -> Class {
    let row = TABLE.iter().find(|(_, _, numbers)| numbers.contains(&number));
    row.map_or_else(
        || match code {
            404 | 408 | 429 => Class::Unavailable,
            400..500 => Class::Configuration,
            _ => Class::Unavailable,
        },
        |(class, ..)| *class,
    )
}

/// The rows for the documents: meaning with numbers, and exit code.
pub fn rows() -> Vec<(String, u8)> {
    let shown = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    TABLE
        .iter()
        .map(|(class, meaning, numbers)| (format!("{meaning}: {}", shown(numbers)), class.exit_code()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_about_the_event_the_set_up_or_the_moment() {
        for (code, number, exit) in [
            (400, 10_054, 65),
            (503, 10_039, 78),
            (503, 10_076, 78),
            (500, 10_074, 78),
            (400, 10_065, 78),
            (400, 10_058, 78),
            (500, 10_052, 78),
            (400, 10_027, 78),
            (404, 10_059, 75),
            (503, 10_077, 75),
            (503, 10_008, 75),
            // No row has these numbers.
            (400, 10_003, 78),
            (408, 0, 75),
            (404, 10_014, 75),
            (500, 1, 75),
            (0, 0, 75),
        ] {
            assert_eq!(about(code, number).exit_code(), exit, "{code} {number}");
        }
    }
}
