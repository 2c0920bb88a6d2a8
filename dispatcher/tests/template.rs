//! Templates and YAML against the outputs of the real Go libraries, and against hostile events.

#[cfg(test)]
mod template {
    mod careless;
    mod carried;
    mod golden;
    mod hostile;
    mod limits;
    mod rendering;
}
