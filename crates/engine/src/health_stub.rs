//! stub
use crate::pool::Pool;
use std::sync::Arc;
/// stub
pub async fn watch_health(_: Arc<Pool>) {
    std::future::pending().await
}
