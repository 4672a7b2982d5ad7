//! The ways that are measured, and what a tunnel should carry over each.

use clap::ValueEnum;

use super::super::super::haul::What;

/// A way, and how it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Row {
    /// 0.1% lost, beside cubic
    Lossy,
    /// 1% lost, beside cubic
    Lossy1,
    /// 0.1% lost, eight lanes beside BBR
    Lanes8,
    /// Nothing lost, beside BBR
    Clean,
    /// Links of 50 and 100 Mb/s, beside the better one
    Bonded,
    /// Each flow held to 20 Mb/s, eight lanes
    Policed,
    /// Text over 50 Mb/s, compressed
    Text,
    /// A question over a tunnel that is there
    Answer,
    /// Both ends on one machine
    Loopback,
}

/// What a tunnel should do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wanted {
    /// Carry so many Mb/s.
    Mbit(f64),
    /// Carry so many times what goes straight.
    Times(f64),
    /// Answer within so many milliseconds.
    Answer(f64),
    /// Carry so many Mb/s at so many seconds of CPU for each GB, those of both ends.
    Cheaply(f64, f64),
}

/// How a row is measured.
pub(super) struct Plan {
    pub(super) title: &'static str,
    /// The words for `wan`; none for loopback.
    pub(super) links: &'static [&'static str],
    /// What the straight way is used with.
    pub(super) congestion: Option<&'static str>,
    /// Where that leads.
    pub(super) straight: &'static str,
    /// The URL of the near end, without its key.
    pub(super) url: &'static str,
    pub(super) what: What,
    pub(super) wanted: Wanted,
}

const ONE: &str = "10.77.0.2";

impl Row {
    pub(super) fn name(self) -> &'static str {
        match self {
            Row::Lossy => "lossy",
            Row::Lossy1 => "lossy1",
            Row::Lanes8 => "lanes8",
            Row::Clean => "clean",
            Row::Bonded => "bonded",
            Row::Policed => "policed",
            Row::Text => "text",
            Row::Answer => "answer",
            Row::Loopback => "loopback",
        }
    }

    pub(super) fn plan(self) -> Plan {
        let auto = Plan {
            title: "",
            links: &[],
            congestion: Some("bbr"),
            straight: ONE,
            url: "towpath://10.77.0.2:7000?lanes=auto&compress=off",
            what: What::Noise,
            wanted: Wanted::Mbit(170.0),
        };
        let eight = "towpath://10.77.0.2:7000?lanes=8&compress=off";
        match self {
            Row::Lossy => Plan {
                title: "200 Mb/s, 100 ms, 0.1% lost; cubic, lanes=auto",
                links: &["--rate", "200mbit", "--rtt", "100ms", "--loss", "0.1%"],
                congestion: Some("cubic"),
                ..auto
            },
            Row::Lossy1 => Plan {
                title: "200 Mb/s, 100 ms, 1% lost; cubic, lanes=auto",
                links: &["--rate", "200mbit", "--rtt", "100ms", "--loss", "1%"],
                congestion: Some("cubic"),
                wanted: Wanted::Times(8.0),
                ..auto
            },
            Row::Lanes8 => Plan {
                title: "200 Mb/s, 100 ms, 0.1% lost; BBR, lanes=8",
                links: &["--rate", "200mbit", "--rtt", "100ms", "--loss", "0.1%"],
                url: eight,
                wanted: Wanted::Mbit(184.0),
                ..auto
            },
            Row::Clean => Plan {
                title: "200 Mb/s, 100 ms, nothing lost; BBR, lanes=auto",
                links: &["--rate", "200mbit", "--rtt", "100ms"],
                wanted: Wanted::Times(0.95),
                ..auto
            },
            Row::Bonded => Plan {
                title: "50 and 100 Mb/s, 100 ms; BBR over the better, lanes=4 over both",
                links: &["--rtt", "100ms", "--link", "rate=50mbit", "--link", "rate=100mbit"],
                straight: "10.77.1.2",
                url: "towpath://10.77.0.2:7000,10.77.1.2:7000?lanes=4&compress=off&bind=10.77.0.1,10.77.1.1",
                wanted: Wanted::Mbit(135.0),
                ..auto
            },
            Row::Policed => Plan {
                title: "200 Mb/s, 100 ms, each flow held to 20 Mb/s; BBR, lanes=8",
                links: &["--rate", "200mbit", "--rtt", "100ms", "--police", "20mbit"],
                url: eight,
                wanted: Wanted::Mbit(150.0),
                ..auto
            },
            Row::Text => Plan {
                title: "50 Mb/s, 100 ms, text; BBR, compress=auto",
                links: &["--rate", "50mbit", "--rtt", "100ms"],
                url: "towpath://10.77.0.2:7000",
                what: What::Text,
                wanted: Wanted::Mbit(120.0),
                ..auto
            },
            Row::Answer => Plan {
                title: "100 ms; a question over a new connection, the tunnel is there",
                links: &["--rate", "200mbit", "--rtt", "100ms"],
                what: What::Questions,
                wanted: Wanted::Answer(150.0),
                ..auto
            },
            Row::Loopback => Plan {
                title: "one machine, encrypted, lanes=1",
                congestion: None,
                straight: "127.0.0.1",
                url: "towpath://127.0.0.1:7000?lanes=1&compress=off",
                wanted: Wanted::Cheaply(4000.0, 3.0),
                ..auto
            },
        }
    }
}
