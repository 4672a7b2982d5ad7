//! Paths as servers read them.

use std::borrow::Cow;

use proptest::prelude::*;

use crate::http1::path::plain;

#[test]
fn paths_are_read_as_servers_read_them() {
    for path in ["/", "/a", "/a/", "/a.b/c..d", "*", "/a b"] {
        assert!(matches!(plain(path), Some(Cow::Borrowed(same)) if same == path), "{path}");
    }
    for (path, read) in [
        ("//admin", "/admin"),
        ("/%61dmin", "/admin"),
        ("/x/../admin", "/admin"),
        ("/x/%2e%2E/admin", "/admin"),
        ("/x%2f..%2fadmin", "/admin"),
        ("/./admin/.", "/admin/"),
        ("/admin/x/..", "/admin/"),
        ("/a//", "/a/"),
        ("/.hidden", "/.hidden"),
        ("/...", "/..."),
        ("/a%20b", "/a%20b"),
        ("/a%3fb%23%25", "/a%3Fb%23%25"),
        ("/admin;x=1/y", "/admin/y"),
        ("/x/..;/admin", "/admin"),
        ("/;/admin", "/admin"),
        ("/%e2%82%ac", "/%E2%82%AC"),
        ("/a%zz%4", "/a%ZZ%4"),
        ("/a%+1", "/a%+1"),
        ("/%€", "/%€"),
    ] {
        assert_eq!(plain(path).as_deref(), Some(read), "{path}");
    }
    for path in ["/..", "/../x", "/a/../../b", "/%2e%2e/", "/..;/x", "/a\\b", "/a%5cb", "/a%00"] {
        assert_eq!(plain(path), None, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plain_path_stays_plain(path in "/([a/.%\\\\]|%2e|%2f|%25){0,12}") {
        if let Some(once) = plain(&path) {
            prop_assert!(once.starts_with('/') && !once.contains("//"), "{once}");
            prop_assert!(!once.split('/').any(|segment| matches!(segment, "." | "..")), "{once}");
        }
    }

    #[test]
    fn any_path_is_read(path in any::<String>()) {
        let _ = plain(&path);
    }
}
