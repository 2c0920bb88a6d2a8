//! The token with which children publish through this dispatcher, kept in the state folder.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use shared::config::Secret;

/// The token in the state folder, made at the first call. The folder is this user's alone.
pub(super) fn kept(state_dir: &Path) -> io::Result<Secret> {
    let path = state_dir.join("sink-token");
    match fs::read_to_string(&path) {
        Ok(token) if !token.trim().is_empty() => return Ok(Secret::from(token.trim().to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let token = shared::Uuid::new_v4().simple().to_string();
    let new = state_dir.join("sink-token.new");
    fs::write(&new, &token)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    fs::rename(new, path)?;
    Ok(Secret::from(token))
}
