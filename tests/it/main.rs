//! Tests of the whole, in one binary. `tidy` holds the rules of the tree itself.

mod people;
mod support;
mod tidy;
