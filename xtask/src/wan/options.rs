//! What `--link` says of one link.

use std::str::FromStr;
use std::time::Duration;

use super::link::Settings;
use super::units::{self, Queue, Rate, Share};

/// What is said of a link beside what is said of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LinkOptions {
    rate: Option<Rate>,
    rtt: Option<Duration>,
    loss: Option<Share>,
    queue: Option<Queue>,
    police: Option<Rate>,
}

impl LinkOptions {
    /// The settings of the link, where `all` has those that are not its own.
    pub(super) fn over(&self, all: &Settings) -> Settings {
        Settings {
            rate: self.rate.unwrap_or(all.rate),
            rtt: self.rtt.unwrap_or(all.rtt),
            loss: self.loss.unwrap_or(all.loss),
            queue: self.queue.unwrap_or(all.queue),
            police: self.police.or(all.police),
        }
    }
}

impl FromStr for LinkOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut options = LinkOptions::default();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not KEY=VALUE"))?;
            match key {
                "rate" => options.rate = Some(value.parse()?),
                "rtt" => options.rtt = Some(units::time(value)?),
                "loss" => options.loss = Some(value.parse()?),
                "queue" => options.queue = Some(value.parse()?),
                "police" => options.police = Some(value.parse()?),
                _ => return Err(format!("`{key}` is none of rate, rtt, loss, queue and police")),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Settings {
        Settings {
            rate: "200mbit".parse().unwrap(),
            rtt: Duration::from_millis(100),
            loss: Share(0.001),
            queue: Queue::Products(1.0),
            police: None,
        }
    }

    #[test]
    fn a_link_has_what_it_names_and_else_what_all_have() {
        let options: LinkOptions = "rate=50mbit,loss=0%,police=20mbit".parse().unwrap();
        let expected = Settings {
            rate: "50mbit".parse().unwrap(),
            loss: Share(0.0),
            police: "20mbit".parse().ok(),
            ..all()
        };
        assert_eq!(options.over(&all()), expected);
        let options: LinkOptions = "rtt=20ms,queue=9000".parse().unwrap();
        let expected = Settings { rtt: Duration::from_millis(20), queue: Queue::Bytes(9_000), ..all() };
        assert_eq!(options.over(&all()), expected);
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for text in ["", "rate", "rate=", "rate=fast", "speed=50mbit", "rate=50mbit,", "loss=1"] {
            assert!(text.parse::<LinkOptions>().is_err(), "{text}");
        }
    }
}
