//! Part of the dispatcher.
