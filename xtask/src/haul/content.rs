//! What is carried: noise, or text like that of an encyclopedia, the same each time.

use fastrand::Rng;

/// Bytes that are made once and sent over and over; more than any compressor looks back at.
const BYTES: usize = 24 << 20;

/// Bytes of one write.
const WRITE: usize = 128 * 1024;

/// Words of the language, the first ones of which are frequent.
const WORDS: usize = 30_000;

/// Bytes to send, in turn.
pub(super) struct Content {
    bytes: Vec<u8>,
    at: usize,
}

impl Content {
    pub(super) fn new(is_text: bool) -> Self {
        let mut rng = Rng::with_seed(6);
        let bytes = if is_text { text(&mut rng) } else { noise(&mut rng) };
        Self { bytes, at: 0 }
    }

    pub(super) fn next(&mut self) -> &[u8] {
        if self.at + WRITE > self.bytes.len() {
            self.at = 0;
        }
        let start = self.at;
        self.at += WRITE;
        &self.bytes[start..self.at]
    }
}

fn noise(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    rng.fill(&mut bytes);
    bytes
}

/// Articles with titles, links, numbers and sentences, whose words are as frequent as those of languages are (Zipf).
fn text(rng: &mut Rng) -> Vec<u8> {
    const SYLLABLES: [&str; 24] = [
        "an", "ber", "con", "de", "er", "fal", "gra", "hin", "in", "jo", "kel", "lo", "men", "nor", "ou",
        "per", "qui", "re", "sta", "ti", "un", "ver", "wor", "ing",
    ];
    let word =
        |rng: &mut Rng| -> String { (0..rng.usize(1..4)).map(|_| SYLLABLES[rng.usize(..24)]).collect() };
    let words: Vec<String> = (0..WORDS).map(|_| word(rng)).collect();
    // The share of each word is as one over its rank: ranks are even on a scale of logarithms.
    let pick = |rng: &mut Rng| -> usize { ((WORDS as f64).powf(rng.f64()) as usize).min(WORDS) - 1 };
    let mut text = String::with_capacity(BYTES + 4096);
    while text.len() < BYTES {
        let title = &words[rng.usize(..WORDS)];
        text.push_str(&format!("<page>\n<title>{title}</title>\n<id>{}</id>\n<text>", rng.u32(..10_000_000)));
        for _ in 0..rng.usize(3..40) {
            let mut sentence = String::new();
            for _ in 0..rng.usize(5..25) {
                let word = &words[pick(rng)];
                match rng.usize(..30) {
                    0 => sentence.push_str(&format!("[[{word}|{}]] ", words[pick(rng)])),
                    1 => sentence.push_str(&format!("{} ", rng.u32(1000..2030))),
                    2 => sentence.push_str(&format!("{word}, ")),
                    _ => sentence.push_str(&format!("{word} ")),
                }
            }
            text.push_str(sentence.trim_end());
            text.push_str(". ");
        }
        text.push_str("</text>\n</page>\n");
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shrinks_as_text_does_and_noise_does_not() {
        let ratio = |is_text| {
            let mut content = Content::new(is_text);
            let blocks: Vec<u8> = (0..8).flat_map(|_| content.next().to_vec()).collect();
            // As tunnels compress: each block of 64 KiB by itself.
            let coded = blocks.chunks(64 * 1024).map(|block| zstd::bulk::compress(block, 1).unwrap().len());
            blocks.len() as f64 / coded.sum::<usize>() as f64
        };
        let (text, noise) = (ratio(true), ratio(false));
        assert!((2.2..3.6).contains(&text) && noise < 1.01, "{text} {noise}");
    }

    #[test]
    fn it_is_the_same_each_time() {
        assert_eq!(Content::new(true).next(), Content::new(true).next());
    }
}
