//! What the status of an answer means: the event is wrong, our configuration is wrong, or the trouble may pass. One
//! table.

use std::ops::RangeInclusive;

use crate::error::Class;

/// The first matching row counts.
const TABLE: &[(RangeInclusive<u16>, Class, &str)] = &[
    (300..=399, Class::Configuration, "the address has moved"),
    (400..=400, Class::Input, "the request is refused as it is"),
    (401..=407, Class::Configuration, "the address, the token, the proxy or the method is wrong"),
    (408..=409, Class::Unavailable, "too slow, or at the same time as another"),
    (410..=412, Class::Configuration, "the address no longer exists, or wants what we never send"),
    (413..=413, Class::Input, "the event is too large"),
    (414..=415, Class::Configuration, "the address is too long, or takes no JSON"),
    (421..=421, Class::Configuration, "another server than the one of the address"),
    (423..=425, Class::Unavailable, "locked, waiting for another, or too early"),
    (426..=428, Class::Configuration, "the address wants another protocol, or what we never send"),
    (429..=429, Class::Unavailable, "too many requests"),
    (440..=440, Class::Configuration, "a login has ended"),
    (444..=444, Class::Unavailable, "a proxy had no answer"),
    (449..=449, Class::Unavailable, "the server asks to try again"),
    (451..=451, Class::Configuration, "refused for legal reasons"),
    (460..=460, Class::Unavailable, "a proxy gave up waiting"),
    (495..=498, Class::Configuration, "a proxy wants TLS, another certificate or another token"),
    (499..=499, Class::Unavailable, "a proxy gave up waiting"),
    (400..=499, Class::Input, "the request is refused as it is"),
    (501..=501, Class::Configuration, "the server does not know the method"),
    (505..=506, Class::Configuration, "the server speaks another protocol"),
    (508..=508, Class::Configuration, "the address redirects in a circle"),
    (510..=511, Class::Configuration, "the network or the server wants something first, such as a login"),
    (100..=599, Class::Unavailable, "the server is in trouble"),
];

/// The class of an unsuccessful answer.
pub(super) fn about(status: u16) -> (Class, &'static str) {
    let row = TABLE.iter().find(|(statuses, ..)| statuses.contains(&status));
    match (status, row) {
        (_, None) => (Class::Unavailable, "no status of HTTP"),
        (401 | 403, Some((.., words))) => (Class::Credentials, words),
        (_, Some((_, class, words))) => (*class, words),
    }
}

/// The rows for the documents: statuses with their meaning, and exit code.
pub(super) fn rows() -> Vec<(String, u8)> {
    let shown = |statuses: &RangeInclusive<u16>| match (statuses.start(), statuses.end()) {
        (400, 499) => "every other 4xx".to_owned(),
        (100, 599) => "every other".to_owned(),
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first} to {last}"),
    };
    TABLE
        .iter()
        .map(|(statuses, class, words)| (format!("{}: {words}", shown(statuses)), class.exit_code()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_about_the_event_the_set_up_or_the_moment() {
        for (exit, statuses) in [
            (65, &[400, 413, 416, 417, 418, 422, 431, 494][..]),
            (
                78,
                &[
                    300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405, 406, 407, 410, 411, 412, 414,
                    415, 421, 426, 428, 440, 451, 495, 496, 497, 498, 501, 505, 506, 508, 510, 511,
                ],
            ),
            (
                75,
                &[
                    103, 408, 409, 423, 424, 425, 429, 444, 449, 460, 499, 500, 502, 503, 504, 507, 509, 520,
                    521, 522, 524, 529, 599,
                ],
            ),
        ] {
            for status in statuses {
                assert_eq!(about(*status).0.exit_code(), exit, "{status}");
            }
        }
    }
}
