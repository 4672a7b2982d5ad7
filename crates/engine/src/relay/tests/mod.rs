//! One suite over every way to move bytes and every kind of socket.

mod endings;
mod pieces;
mod random;
mod rig;
mod streams;
