//! Tunnels: many streams over several connections, of which those may break that do not last.
//!
//! [`Hub`] has the session of two ends, and is what their streams and lanes meet in; [`carry`] carries the frames of one lane, and
//! [`TunnelStream`] is one stream as the rest of the house sees it. Who opens lanes and streams, and where those lead, is told elsewhere.

mod hub;
mod lane;
mod pace;
pub(crate) mod parting;
mod squeeze;
mod state;
mod stream;

pub(crate) use hub::{FIRST_WINDOW, Hub};
pub(crate) use lane::{Ended, carry};
pub(crate) use stream::{Standing, TunnelStream};
