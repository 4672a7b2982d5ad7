//! A direction in virtual time: every figure is exact.

use std::convert::Infallible;

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// 200 Mb/s: 60 us for a full packet.
fn settings() -> Settings {
    Settings {
        rate: "200mbit".parse().unwrap(),
        rtt: Duration::from_millis(100),
        loss: Share(0.0),
        queue: Queue::Products(1.0),
        police: None,
    }
}

fn direction(settings: &Settings, start: Instant) -> Direction {
    Direction::new(settings, Rng::with_seed(7), start)
}

/// The numbers of the packets that arrive up to `end`, and when after `start`, with a clock that stops at each.
fn arrivals(direction: &mut Direction, start: Instant, end: Duration) -> Vec<(u16, Duration)> {
    let mut arrived = Vec::new();
    while let Some(now) = direction.next_arrival().filter(|now| *now <= start + end) {
        let receive = |packet: &[u8]| -> Result<(), Infallible> {
            arrived.push((u16::from_be_bytes([packet[0], packet[1]]), now - start));
            Ok(())
        };
        direction.deliver(now, receive).unwrap();
    }
    arrived
}

fn packet(number: u16, bytes: usize) -> Vec<u8> {
    let mut packet = vec![0; bytes];
    packet[..2].copy_from_slice(&number.to_be_bytes());
    packet
}

#[test]
fn a_packet_takes_its_time_on_the_line_and_half_the_round_trip() {
    let start = Instant::now();
    let mut direction = direction(&settings(), start);
    direction.take(start, &packet(0, 1_500));
    direction.take(start, &packet(1, 150));
    // The line has been free for a while.
    direction.take(start + MILLISECOND, &packet(2, 1_500));
    let expected = [(0, 50_060), (1, 50_066), (2, 51_060)];
    let expected = expected.map(|(number, micros)| (number, Duration::from_micros(micros)));
    assert_eq!(arrivals(&mut direction, start, MILLISECOND * 100), expected);
    assert_eq!(direction.next_arrival(), None);
}

#[test]
fn a_thousand_packets_take_what_the_rate_says() {
    let start = Instant::now();
    let mut direction = direction(&settings(), start);
    for number in 0..1_000 {
        direction.take(start, &packet(number, 1_500));
    }
    let arrived = arrivals(&mut direction, start, Duration::from_secs(1));
    assert!(arrived.iter().map(|(number, _)| *number).eq(0..1_000));
    assert_eq!(arrived[999].1 - arrived[0].1, Duration::from_micros(999 * 60));
    let counters = direction.counters();
    assert_eq!((counters.packets, counters.bytes), (1_000, 1_500_000));
}

#[test]
fn a_clock_that_looks_rarely_changes_nothing() {
    let start = Instant::now();
    let mut direction = direction(&settings(), start);
    let mut bytes = 0;
    for tick in 0..100 {
        for number in 0..20 {
            direction.take(start + MILLISECOND * tick, &packet(number, 1_500));
        }
        let receive = |packet: &[u8]| -> Result<(), Infallible> {
            bytes += packet.len();
            Ok(())
        };
        direction.deliver(start + MILLISECOND * tick, receive).unwrap();
    }
    // What the line has sent in the first 49 ms, in whole packets, has arrived at 99 ms.
    assert_eq!(bytes, 49_000 / 60 * 1_500);
}

#[test]
fn a_full_queue_drops_the_last() {
    let start = Instant::now();
    let queue = Queue::Bytes(15_000);
    let mut direction = direction(&Settings { queue, ..settings() }, start);
    for number in 0..12 {
        direction.take(start, &packet(number, 1_500));
    }
    assert_eq!(direction.counters().queue_drops, 2);
    // A small one does not fit either until the line has sent a packet.
    direction.take(start, &packet(12, 40));
    direction.take(start + Duration::from_micros(60), &packet(13, 40));
    let arrived = arrivals(&mut direction, start, MILLISECOND * 100);
    assert!(arrived.iter().map(|(number, _)| *number).eq((0..10).chain([13])));
    assert_eq!(direction.counters().queue_drops, 3);
}

#[test]
fn loss_is_near_its_share_and_repeats_with_its_seed() {
    let start = Instant::now();
    let lost = |seed: u64| {
        let settings = Settings { loss: Share(0.01), ..settings() };
        let mut direction = Direction::new(&settings, Rng::with_seed(seed), start);
        for number in 0..50_000_u16 {
            let now = start + Duration::from_micros(60) * u32::from(number);
            direction.take(now, &packet(number, 1_500));
        }
        let numbers = arrivals(&mut direction, start, Duration::from_secs(10)).into_iter();
        (direction.counters().lost, numbers.map(|(number, _)| number).collect::<Vec<_>>())
    };
    let (count, arrived) = lost(7);
    assert!((400..600).contains(&count), "{count}");
    assert_eq!(arrived.len() as u64 + count, 50_000);
    assert_eq!(lost(7), (count, arrived));
    assert_ne!(lost(8), lost(7));
}

#[test]
fn a_flow_above_its_rate_is_policed() {
    let start = Instant::now();
    let police = "20mbit".parse().ok();
    let mut direction = direction(&Settings { police, ..settings() }, start);
    let mut tcp = packet(0x4500, 1_500);
    tcp[9] = 6;
    for tick in 0..10_000 {
        direction.take(start + Duration::from_micros(100) * tick, &tcp);
    }
    arrivals(&mut direction, start, Duration::from_secs(2));
    let counters = direction.counters();
    assert_eq!(counters.packets + counters.policed, 10_000);
    assert!((2_700_000..=2_750_000).contains(&counters.bytes), "{}", counters.bytes);
}

#[test]
fn a_cut_link_loses_what_is_on_its_way_too() {
    let start = Instant::now();
    let mut direction = direction(&settings(), start);
    for number in 0..10 {
        direction.take(start, &packet(number, 1_500));
    }
    let now = start + Duration::from_micros(50_150);
    assert_eq!(arrivals(&mut direction, start, now - start).len(), 2);
    direction.obey(now, Order::Cut);
    direction.take(now, &packet(10, 1_500));
    assert_eq!(direction.next_arrival(), None);
    direction.obey(now, Order::Heal);
    direction.take(now, &packet(11, 1_500));
    let arrived = arrivals(&mut direction, start, Duration::from_secs(1));
    assert_eq!(arrived, [(11, Duration::from_micros(100_210))]);
    assert_eq!(direction.counters().cut, 9);
}

#[test]
fn a_new_rate_holds_for_the_rest_of_the_packet_on_the_line() {
    let start = Instant::now();
    let mut direction = direction(&settings(), start);
    for number in 0..3 {
        direction.take(start, &packet(number, 1_500));
    }
    direction.obey(start + Duration::from_micros(30), Order::Rate("100mbit".parse().unwrap()));
    let arrived = arrivals(&mut direction, start, Duration::from_secs(1));
    let expected = [(0, 50_090), (1, 50_210), (2, 50_330)];
    assert_eq!(arrived, expected.map(|(number, micros)| (number, Duration::from_micros(micros))));
}

#[test]
fn loss_can_change() {
    let start = Instant::now();
    let mut direction = direction(&settings(), start);
    direction.obey(start, Order::Loss(Share(1.0)));
    direction.take(start, &packet(0, 1_500));
    direction.obey(start, Order::Loss(Share(0.0)));
    direction.take(start, &packet(1, 1_500));
    assert_eq!(arrivals(&mut direction, start, Duration::from_secs(1)).len(), 1);
    assert_eq!(direction.counters().lost, 1);
}
