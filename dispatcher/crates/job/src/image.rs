//! Names of images.

/// The last segment of an image's name, without tag and the project's own prefix.
pub fn short(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image).split(['@', ':']).next().unwrap_or(image);
    name.strip_prefix("knapscen-").unwrap_or(name)
}
