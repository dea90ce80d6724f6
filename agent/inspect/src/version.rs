//! Version order: kernel releases and package versions, never as text.
