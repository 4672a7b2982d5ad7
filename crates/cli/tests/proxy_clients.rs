//! The proxy clients that people use.

mod support;
