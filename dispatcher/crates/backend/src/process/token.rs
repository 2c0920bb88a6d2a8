//! The token with which child processes publish through this dispatcher, kept in the state folder.

use std::fs;
use std::io;
use std::path::Path;

use shared::config::Secret;
use shared::private;

/// The token in the state folder, made at the first call. Only this user can read the folder.
pub(super) fn kept(state_dir: &Path) -> io::Result<Secret> {
    let path = state_dir.join("sink-token");
    match fs::read_to_string(&path) {
        Ok(token) if !token.trim().is_empty() => return Ok(Secret::from(token.trim().to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let token = shared::Uuid::new_v4().simple().to_string();
    private::write(&path, token.as_bytes())?;
    Ok(Secret::from(token))
}
