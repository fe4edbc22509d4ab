//! Suites that cross crates: see `tests/`. The library itself is empty.
