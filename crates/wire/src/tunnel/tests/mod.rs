//! Frames, hellos, and whole sessions in virtual time.

mod simulation;
