//! Any text is a LISTEN and a TARGET or a mistake, and what is one prints back as itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use towpath_wire::addr::{Listen, Target};

fuzz_target!(|text: &str| {
    if let Ok(listen) = text.parse::<Listen>() {
        assert_eq!(listen.to_string().parse::<Listen>().as_ref(), Ok(&listen));
    }
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(target.to_string().parse::<Target>().as_ref(), Ok(&target));
    }
});
