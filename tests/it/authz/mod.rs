//! Who may do what: every route, as every kind of caller, on a package that is private, one that is public and one that
//! is not there.
//!
//! `matrix.txt` holds the answers and is reviewed as a diff; `UPDATE_MATRIX=1` writes it anew. A route of the OCI adapter
//! that nobody sampled fails the test, and so does an answer by which somebody without a right to know could tell a
//! private package from an absent one.

mod callers;
mod matrix;
mod networks;
mod samples;
mod world;
