//! Any text is a configuration or a list of mistakes that can be shown.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(mistakes) = towpath_config::parse(text, "fuzz") {
        assert!(!mistakes.items().is_empty());
        assert!(!mistakes.render(false).is_empty());
        assert!(!mistakes.to_string().is_empty());
    }
});
