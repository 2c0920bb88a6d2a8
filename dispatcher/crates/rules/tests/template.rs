//! Careless Job templates and hostile events.

#[cfg(test)]
mod template {
    mod careless;
    mod carried;
    #[path = "../../../gotemplate/tests/template/random.rs"]
    mod random;
}
