//! Entry point of `lb`.
fn main() {}
