//! What HTTP load balancing is made of.

#![allow(dead_code, reason = "the story of a request, which joins them, comes with the next change")]

mod budget;
mod compress;
mod edits;
mod forwarded;
mod own_answer;
mod request_rate;
mod routing;
mod sticky;
mod trace;
mod weighed;
