//! What the parts cost that every request goes through, each by itself. Run by `make bench-inner`; a name picks some:
//! `make bench-inner ONLY=rights`.

#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing better to do")]

mod reads;
mod rights;
mod route;
mod world;
mod writes;

criterion::criterion_main!(route::group, rights::group, reads::group, writes::group);
