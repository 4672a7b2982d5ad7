//! What makes a listener balance requests: its routes, and what holds for them.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{ForwardedFields, Http, Mode, RecordFormat, Rules};

/// The longest head of a request, unless it is given.
const HEADER_BYTES: usize = 16 * 1024;

/// What becomes of the requests of a listener of this mode.
pub(crate) fn http(mode: Mode) -> Option<Arc<Http>> {
    (mode == Mode::Http).then(|| {
        Arc::new(Http {
            routes: Vec::new(),
            rules: Rules::default(),
            trusted: Vec::new(),
            forwarded: ForwardedFields { x_forwarded: true, standard: false },
            via: None,
            header_timeout: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(60),
            header_bytes_max: HEADER_BYTES,
            request_id: None,
            trace: false,
            record_format: RecordFormat::Own,
        })
    })
}
