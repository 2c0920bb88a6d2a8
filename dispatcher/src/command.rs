//! The commands of the dispatcher, one file each.

pub mod explain;
pub mod output;
pub mod planning;
pub mod validate;
