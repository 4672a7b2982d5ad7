//! What may be changed in the URL of a tunnel.

use std::fmt;

use clap::ValueEnum;

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// How many connections carry the streams
    Lanes,
    /// Whether blocks are compressed, and how
    Compress,
    /// The congestion control of what goes up
    Congestion,
    /// The largest segments
    Mss,
    /// The largest writes of what goes up
    WriteSize,
    /// The buffers of the sockets
    Buffers,
}

/// One word of the URL, and what it is to be; or none, and no tunnel at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// `None` for the way without the tunnel.
    pub(super) group: Option<Group>,
    words: Vec<(String, String)>,
}

impl Change {
    fn new(group: Group, key: &str, value: &str) -> Self {
        Self { group: Some(group), words: vec![(key.to_owned(), value.to_owned())] }
    }

    fn direct() -> Self {
        Self { group: None, words: Vec::new() }
    }

    /// All of these at once.
    pub(super) fn together(changes: &[Change]) -> Self {
        let words = changes.iter().flat_map(|change| change.words.clone()).collect();
        Self { group: changes.first().and_then(|change| change.group), words }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.words.is_empty()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_direct() {
            return to.write_str("no tunnel");
        }
        let words: Vec<_> = self.words.iter().map(|(key, value)| format!("{key}={value}")).collect();
        to.write_str(&words.join(" "))
    }
}

/// The URL of a near end, by its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Up to the `?`.
    place: String,
    /// With an empty value where it has none.
    words: Vec<(String, String)>,
}

impl Url {
    /// The tunnel that `via` ends with.
    pub(super) fn of_tunnel(via: &[String]) -> Result<Self, String> {
        let last = via.last().map_or("", String::as_str);
        if !last.starts_with("towpath://") {
            return Err("the last --via is no tunnel: `towpath tune` needs one like towpath://HOST:PORT?key-file=FILE".to_owned());
        }
        Ok(Self::parse(last))
    }

    fn parse(text: &str) -> Self {
        let (place, words) = text.split_once('?').unwrap_or((text, ""));
        let word = |word: &str| {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            (key.to_owned(), value.to_owned())
        };
        let words = words.split('&').filter(|word| !word.is_empty()).map(word).collect();
        Self { place: place.to_owned(), words }
    }

    /// The same with a change.
    pub(super) fn with(&self, change: &Change) -> Self {
        let mut changed = self.clone();
        for (key, value) in &change.words {
            changed.words.retain(|(other, _)| other != key);
            changed.words.push((key.clone(), value.clone()));
        }
        changed
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.words.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.place)?;
        for (place, (key, value)) in self.words.iter().enumerate() {
            let (mark, equals) =
                (if place == 0 { '?' } else { '&' }, if value.is_empty() { "" } else { "=" });
            write!(to, "{mark}{key}{equals}{value}")?;
        }
        Ok(())
    }
}

/// All that is worth a try of the groups that are wanted, all of them where none is named; what this end does not decide is left out.
pub(super) fn all(url: &Url, only: &[Group], is_upload: bool, with_direct: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |group: Group, key: &str, usual: &str, values: &[String]| {
        if !only.is_empty() && !only.contains(&group) {
            return;
        }
        let now = url.value(key).unwrap_or(usual);
        changes
            .extend(values.iter().filter(|value| *value != now).map(|value| Change::new(group, key, value)));
    };
    let words = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    add(Group::Lanes, "lanes", "auto", &words(&["1", "2", "4", "8", "16", "auto"]));
    add(Group::Compress, "compress", "auto", &words(&["off", "auto", "lz4", "zstd"]));
    add(Group::Mss, "mss", "", &words(&["1200", "536"]));
    if is_upload {
        add(Group::Congestion, "congestion", "bbr", &congestion_controls());
        add(Group::WriteSize, "write_size", "", &words(&["16KiB", "64KiB"]));
        add(Group::Buffers, "send_buffer", "", &words(&["1MiB", "8MiB"]));
    } else {
        add(Group::Buffers, "receive_buffer", "", &words(&["1MiB", "8MiB"]));
    }
    if with_direct && only.is_empty() {
        changes.push(Change::direct());
    }
    changes
}

/// Those that the kernel has.
fn congestion_controls() -> Vec<String> {
    let text =
        std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::of_tunnel(&["http://proxy:3128".to_owned(), text.to_owned()]).unwrap()
    }

    #[test]
    fn a_url_is_what_it_was_but_for_the_change() {
        let text = "towpath://a.example:7000,b.example:7000?key-file=a key&plain&lanes=4";
        assert_eq!(url(text).to_string(), text);
        let changed = url(text).with(&Change::new(Group::Lanes, "lanes", "8"));
        assert_eq!(
            changed.to_string(),
            "towpath://a.example:7000,b.example:7000?key-file=a key&plain&lanes=8"
        );
        let bare = url("towpath://a.example:7000").with(&Change::new(Group::Mss, "mss", "536"));
        assert_eq!(bare.to_string(), "towpath://a.example:7000?mss=536");
    }

    #[test]
    fn a_way_without_a_tunnel_is_refused() {
        let error =
            Url::of_tunnel(&["towpath://a:1".to_owned(), "http://proxy:3128".to_owned()]).unwrap_err();
        assert!(error.contains("towpath://HOST:PORT"), "{error}");
    }

    #[test]
    fn what_is_so_already_is_not_tried() {
        let names = |url: &Url, only: &[Group], is_upload| -> Vec<String> {
            all(url, only, is_upload, true).iter().map(ToString::to_string).collect()
        };
        let plain = url("towpath://a.example:7000");
        assert_eq!(
            names(&plain, &[Group::Lanes], false),
            ["lanes=1", "lanes=2", "lanes=4", "lanes=8", "lanes=16"]
        );
        let eight = url("towpath://a.example:7000?lanes=8");
        assert_eq!(
            names(&eight, &[Group::Lanes], false),
            ["lanes=1", "lanes=2", "lanes=4", "lanes=16", "lanes=auto"]
        );
        let all = names(&plain, &[], false);
        assert!(
            all.contains(&"no tunnel".to_owned()) && all.contains(&"receive_buffer=8MiB".to_owned()),
            "{all:?}"
        );
        assert!(!all.iter().any(|name| name.starts_with("congestion")), "the far end decides: {all:?}");
        let up = names(&plain, &[], true);
        assert!(
            up.contains(&"congestion=cubic".to_owned()) && !up.contains(&"receive_buffer=8MiB".to_owned()),
            "{up:?}"
        );
    }

    #[test]
    fn changes_go_together() {
        let both = [Change::new(Group::Lanes, "lanes", "8"), Change::new(Group::Compress, "compress", "off")];
        assert_eq!(Change::together(&both).to_string(), "lanes=8 compress=off");
    }
}
