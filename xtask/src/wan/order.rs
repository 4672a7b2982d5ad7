//! What can be done to a link while it runs, and the lines that ask for it.

use super::units::{Rate, Share};

/// A change of one link, in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Order {
    /// Nothing passes any more, and what is on its way is lost.
    Cut,
    /// Packets pass again.
    Heal,
    Rate(Rate),
    Loss(Share),
}

impl Order {
    /// The link that a line names, and what to do to it.
    ///
    /// # Errors
    ///
    /// With what is wrong with the line.
    pub(super) fn parse(line: &str, links: usize) -> Result<(usize, Order), String> {
        let words: Vec<_> = line.split_whitespace().collect();
        let (verb, link, value) = match words[..] {
            [verb, link] => (verb, link, None),
            [verb, link, value] => (verb, link, Some(value)),
            _ => return Err("say `cut LINK`, `heal LINK`, `rate LINK RATE` or `loss LINK SHARE`".to_owned()),
        };
        let link =
            link.parse().ok().filter(|link| *link < links).ok_or(format!("there is no link {link}"))?;
        let order = match (verb, value) {
            ("cut", None) => Order::Cut,
            ("heal", None) => Order::Heal,
            ("rate", Some(rate)) => Order::Rate(rate.parse()?),
            ("loss", Some(share)) => Order::Loss(share.parse()?),
            _ => return Err(format!("`{line}` is no order; those are cut, heal, rate and loss")),
        };
        Ok((link, order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_order_for_a_link() {
        assert_eq!(Order::parse("cut 0", 1), Ok((0, Order::Cut)));
        assert_eq!(Order::parse(" heal  1\n", 2), Ok((1, Order::Heal)));
        assert_eq!(Order::parse("rate 1 50mbit", 2), Ok((1, Order::Rate("50mbit".parse().unwrap()))));
        assert_eq!(Order::parse("loss 0 1%", 2), Ok((0, Order::Loss(Share(0.01)))));
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        for line in
            ["", "cut", "cut 1", "cut 0 1%", "rate 0", "rate 0 fast", "loss 0 1", "stop 0", "cut 0 0 0"]
        {
            assert!(Order::parse(line, 1).is_err(), "{line}");
        }
    }
}
