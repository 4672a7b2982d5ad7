//! What an algorithm sees of the backends of a pool at one moment.

/// Backends by their place, from 0; places and what they mean stay while the view does.
pub(crate) trait View {
    /// How many there are.
    fn count(&self) -> usize;

    /// Whether a new connection may go to it now.
    fn is_open(&self, place: usize) -> bool;

    /// Its share beside the others, above 0; while it starts slowly, only a part of the configured one.
    fn weight(&self, place: usize) -> f64;

    /// Live connections, and failures of late, which count as such.
    fn load(&self, place: usize) -> u32;

    /// How slow it has been of late, in nanoseconds: see [`super::latency`].
    fn latency_nanos(&self, place: usize) -> u64;
}
