//! The vault as a program.
fn main() {}
