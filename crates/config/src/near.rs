//! Which known word somebody may have meant.

/// Words longer than this are not compared: the cost grows with the product of the lengths.
const WORD_MAX: usize = 64;

/// No more known words than this are compared.
const KNOWN_MAX: usize = 1000;

/// The known word that is nearest to `word`, if it is near enough to be a slip of the fingers.
pub(crate) fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    let slips = (word.len() / 3).max(1);
    known
        .into_iter()
        .take(KNOWN_MAX)
        .map(|known| {
            (strsim::damerau_levenshtein(&word, &known.to_ascii_lowercase().replace('-', "_")), known)
        })
        .filter(|&(distance, _)| distance <= slips)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, known)| known)
}

/// At most 48 characters of what somebody wrote, for messages.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(48) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
