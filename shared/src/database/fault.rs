//! The meaning of a database server's errors, by number. One table for MySQL and MariaDB.

use crate::error::Class;

/// What the numbers of a row mean, and the remedy if there is one.
const TABLE: &[(Class, &str, &str, &[u16])] = &[
    (
        Class::Credentials,
        "user or password is refused",
        "check DB_USER and DB_PASSWORD, or DATABASE_URL",
        &[1045, 1698, 2059],
    ),
    (
        Class::Configuration,
        "the account is locked or its password has expired",
        "unlock it at the server",
        &[1820, 1862, 3118, 3955, 4151, 4166],
    ),
    (
        Class::Configuration,
        "the server takes no connection from this host",
        "let it in at the server",
        &[1129, 1130],
    ),
    (
        Class::Configuration,
        "the login method of the account is not known",
        "give it caching_sha2_password or mysql_native_password",
        &[1156, 1251, 1275, 1524, 2054],
    ),
    (Class::Configuration, "the server wants TLS", "set DB_TLS=required", &[3159]),
    (
        Class::Configuration,
        "the account lacks a right",
        "grant it at the server",
        &[1044, 1142, 1143, 1227, 1370, 1410],
    ),
    (
        Class::Configuration,
        "the database does not exist, or no database is named",
        "check DB_NAME, or DATABASE_URL",
        &[1046, 1049, 1102],
    ),
    (
        Class::Configuration,
        "the connection cannot speak utf8mb4",
        "let the server, and a proxy before it, take SET NAMES utf8mb4",
        &[1115, 1242, 1273, 1253],
    ),
    (
        Class::Configuration,
        "the engine InnoDB is missing",
        "switch it on: exactly-once rests on it",
        &[1286, 3161, 1071],
    ),
    (Class::Unavailable, "the schema is older than this program", "run `dispatcher migrate`", &[1054, 1146]),
    (Class::Unavailable, "too many connections, or a quota", "", &[1040, 1203, 1226]),
    (
        Class::Unavailable,
        "another transaction is in the way",
        "",
        &[1205, 1213, 1180, 1412, 3058, 3101, 3572],
    ),
    (Class::Unavailable, "the server is read-only", "", &[1290, 1792, 1836, 3032, 3100]),
    (
        Class::Unavailable,
        "the server is full or short of memory",
        "",
        &[1021, 1030, 1037, 1038, 1041, 1114, 1135],
    ),
    (
        Class::Unavailable,
        "the server stops, or ends the connection",
        "",
        &[1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1317, 1927, 1969, 3024, 3169, 4031],
    ),
    (Class::Input, "the event is larger than max_allowed_packet of the server", "", &[1153, 1301]),
    (
        Class::Bug,
        "a statement or a value of this program is wrong",
        "",
        &[1048, 1052, 1063, 1064, 1136, 1264, 1265, 1267, 1292, 1366, 1406, 1525],
    ),
];

/// Class, meaning and remedy of a number. A number without a row is judged by its SQLSTATE.
pub(super) fn about(number: u16, state: &str) -> (Class, &'static str, &'static str) {
    let row = TABLE.iter().find(|(.., numbers)| numbers.contains(&number));
    if let Some((class, meaning, remedy, _)) = row {
        return (*class, meaning, remedy);
    }
    match state.get(..2) {
        Some("28") => (Class::Credentials, "the account is refused", "check DB_USER and DB_PASSWORD"),
        Some("22") => (Class::Bug, "a value of this program is wrong", ""),
        _ => (Class::Unavailable, "", ""),
    }
}

/// The rows for the documents: meaning with numbers, and exit code.
pub fn rows() -> Vec<(String, u8)> {
    let shown = |numbers: &[u16]| numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    TABLE
        .iter()
        .map(|(class, meaning, _, numbers)| (format!("{meaning}: {}", shown(numbers)), class.exit_code()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_in_one_row() {
        let mut all: Vec<u16> = TABLE.iter().flat_map(|(.., numbers)| numbers.iter().copied()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn an_error_is_about_the_event_the_set_up_or_the_moment() {
        for (number, state, exit) in [
            (1045, "28000", 78),
            (3118, "HY000", 78),
            (4151, "HY000", 78),
            (1130, "HY000", 78),
            (1251, "08004", 78),
            (3159, "HY000", 78),
            (1142, "42000", 78),
            (1049, "42000", 78),
            (1115, "42000", 78),
            (1286, "42000", 78),
            (1146, "42S02", 75),
            (1040, "08004", 75),
            (1213, "40001", 75),
            (1290, "HY000", 75),
            (1114, "HY000", 75),
            (1053, "08S01", 75),
            (1153, "08S01", 65),
            (1406, "22001", 70),
            // No row has these numbers.
            (9999, "28000", 78),
            (9999, "22003", 70),
            (9999, "08S01", 75),
            (9999, "", 75),
        ] {
            assert_eq!(about(number, state).0.exit_code(), exit, "{number} {state}");
        }
    }
}
