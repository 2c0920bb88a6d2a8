//! Templates and YAML against the outputs of the real Go libraries, and against hostile events.

#[cfg(test)]
mod template {
    mod golden;
    mod hostile;
    mod limits;
    mod random;
    mod rendering;
}
