//! Where hyper runs the tasks of HTTP/2: beside those of connections, on the same worker.

use tokio::task::spawn_local;

/// Runs tasks on the current worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalTasks;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}
