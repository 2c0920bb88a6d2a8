//! The end of the output of a Job's newest try, for operators.

use std::path::Path;

use shared::error::Result;

use super::super::MAX_LOGS;
use super::files::{self, blocking, end_of};

/// The last [`MAX_LOGS`] bytes as text; `None` if there is no output.
pub(super) async fn tail(state_dir: &Path, namespace: &str, name: &str) -> Result<Option<String>> {
    let (state_dir, name) = (state_dir.to_owned(), files::name(namespace, name)?);
    blocking(move || {
        let Some(record) = files::newest(&state_dir, &name)? else { return Ok(None) };
        // A try is recorded before its output exists.
        for try_number in [record.try_number, record.try_number.saturating_sub(1)] {
            if let Some(output) = end_of(&files::output(&state_dir, &name, try_number), MAX_LOGS)? {
                return Ok(Some(output));
            }
        }
        Ok(None)
    })
    .await
}
