//! What `validate` finds, each as a sentence.
