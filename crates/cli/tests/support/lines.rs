//! The output of a child, read as it comes and kept line by line.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::PATIENCE;

/// The lines of one stream so far.
pub(crate) struct Lines {
    shared: Arc<(Mutex<Kept>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Kept {
    lines: Vec<String>,
    is_over: bool,
}

impl Lines {
    /// Reads `from` to its end.
    pub(crate) fn read(from: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<Kept>, Condvar)>::default();
        let keep = shared.clone();
        let thread = thread::spawn(move || {
            let (kept, news) = &*keep;
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                kept.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
                news.notify_all();
            }
            kept.lock().unwrap().is_over = true;
            news.notify_all();
        });
        Self { shared, thread: Some(thread) }
    }

    /// No lines at all, of a stream that goes elsewhere.
    pub(crate) fn none() -> Self {
        Self { shared: Arc::default(), thread: None }
    }

    /// Waits until `pick` finds what it wants in the lines so far.
    pub(crate) fn wait<T>(&self, what: &str, pick: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let (kept, news) = &*self.shared;
        let mut kept = kept.lock().unwrap();
        loop {
            if let Some(found) = pick(&kept.lines) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = kept.is_over || left.is_zero();
            assert!(!ended, "no {what} in {:#?}", kept.lines);
            kept = news.wait_timeout(kept, left).unwrap().0;
        }
    }

    /// Waits for a line that holds `text`.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait(&format!("line with {text:?}"), |lines| {
            lines.iter().find(|line| line.contains(text)).cloned()
        })
    }

    /// The lines so far.
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().lines.clone()
    }

    /// All lines, once the stream is over.
    pub(crate) fn all(&mut self) -> Vec<String> {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.so_far()
    }
}
