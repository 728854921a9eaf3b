//! Text without what differs between any two runs: ids, hashes, keys, addresses, invoices, times, durations, ports,
//! process ids, fees, how often something was looked at. What is left out becomes `…`.
//!
//! Amounts, heights, states, names and methods stay: a run in which they differ is another run.

/// How many hexadecimal digits are an id and no word: `decade` and `facade` have six.
const HEX_FROM: usize = 8;
/// How long a word of letters and digits is that nobody made up: an address, a key, an invoice.
const TOKEN_FROM: usize = 24;
/// What stands for something that always differs.
const CUT: &str = "…";

/// `text` without what always differs.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at_word = !out.ends_with(is_word) && is_word(first);
        let volatile = if at_word { volatile(&out, rest) } else { None };
        let taken = match volatile {
            Some(taken) => {
                out.push_str(CUT);
                taken
            }
            None => {
                let end = rest.find(|c| is_word(c) != is_word(first));
                // A word is taken whole; of anything else one character, as a word may begin behind it.
                let end = match is_word(first) {
                    true => end.unwrap_or(rest.len()),
                    false => first.len_utf8(),
                };
                out.push_str(&rest[..end]);
                end
            }
        };
        rest = &rest[taken..];
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// How much of `rest`, which begins with a word, always differs. `before` is the text before it.
fn volatile(before: &str, rest: &str) -> Option<usize> {
    if let Some(taken) = date(rest).or_else(|| uuid(rest)) {
        return Some(taken);
    }
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if word.starts_with(|c: char| c.is_ascii_digit())
        && let Some(taken) = number(before, rest)
    {
        return Some(taken);
    }
    let is_hex = word.bytes().all(|c| c.is_ascii_hexdigit());
    let has_letters = digits < word.len();
    if is_hex && has_letters && word.len() >= HEX_FROM {
        return Some(end);
    }
    // An id that was cut already: `9f3c…`.
    if is_hex && word.len() >= 4 && after.starts_with(CUT) {
        return Some(end + CUT.len());
    }
    let is_token = word.len() >= TOKEN_FROM && digits > 0 && has_letters && !word.contains('_');
    is_token.then_some(end)
}

/// A number that is a time, a port, a process, a fee or a count of looks.
fn number(before: &str, rest: &str) -> Option<usize> {
    let whole = rest.find(|c: char| !c.is_ascii_digit() && c != '_');
    let whole = whole.unwrap_or(rest.len());
    let mut end = whole;
    if let Some(part) = rest[whole..].strip_prefix('.') {
        let part = part.bytes().take_while(u8::is_ascii_digit).count();
        end += if part > 0 { 1 + part } else { 0 };
    }
    let after = &rest[end..];
    if let Some(unit) = unit(after) {
        return Some(end + unit);
    }
    let is_whole_word = !after.starts_with(is_word);
    let said = before.trim_end_matches([' ', ':', '=']);
    let word = said.rsplit(|c| !is_word(c)).next().unwrap_or_default();
    let word = word.to_ascii_lowercase();
    let named = matches!(word.as_str(), "pid" | "port" | "process" | "attempt")
        || word.starts_with("fee")
        || word.ends_with("_fee");
    // After an id that was cut out it is the index of an output: where a wallet puts its change is chance.
    let address = ["127.0.0.1:", "localhost:", "[::1]:", "runs/", "…:"];
    let after_address = address.iter().any(|address| before.ends_with(address));
    // Seconds and milliseconds since 1970, from 2017 to 2033.
    let is_clock = matches!(end, 10 | 13)
        && (rest.starts_with("15")
            || rest.starts_with("16")
            || rest.starts_with("17")
            || rest.starts_with("18")
            || rest.starts_with("19"));
    let is_looks = after.starts_with(" look");
    (is_whole_word && (named || after_address || is_clock || is_looks)).then_some(end)
}

/// The length of a unit of time, and of a space before it, at the start of `text`.
fn unit(text: &str) -> Option<usize> {
    let spaced = text.strip_prefix(' ').unwrap_or(text);
    let space = text.len() - spaced.len();
    let units = ["ms", "µs", "us", "ns", "s", "min"];
    units.iter().find_map(|unit| {
        let rest = spaced.strip_prefix(unit)?;
        (!rest.starts_with(is_word)).then_some(space + unit.len())
    })
}

/// The length of a date with its time: `2026-02-03T04:05:06.789Z`.
fn date(text: &str) -> Option<usize> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let fits = bytes.len() >= SHAPE.len()
        && SHAPE.iter().zip(bytes).all(|(shape, c)| match shape {
            b'0' => c.is_ascii_digit(),
            b'T' => matches!(c, b'T' | b' '),
            other => c == other,
        });
    if !fits {
        return None;
    }
    let rest = &text[SHAPE.len()..];
    let part = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | 'Z'));
    Some(SHAPE.len() + part.unwrap_or(rest.len()))
}

/// The length of a UUID.
fn uuid(text: &str) -> Option<usize> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let bytes = text.as_bytes();
    let mut at = 0;
    for (group, length) in GROUPS.into_iter().enumerate() {
        if group > 0 {
            (bytes.get(at) == Some(&b'-')).then_some(())?;
            at += 1;
        }
        let digits = bytes.get(at..at + length)?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
        at += length;
    }
    (!text[at..].starts_with(is_word)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_always_differs_is_left_out_and_nothing_else() {
        for (text, expected) in [
            ("swap is Funded", "swap is Funded"),
            (
                "49_999 sat instead of 50_000 sat",
                "49_999 sat instead of 50_000 sat",
            ),
            ("100000000", "100000000"),
            ("height 118, timeout 1_556", "height 118, timeout 1_556"),
            ("decade facade 5 blocks", "decade facade 5 blocks"),
            ("tx 9f3c2b1a77e0 confirmed", "tx … confirmed"),
            ("claim 9f3c… is in block 118", "claim … is in block 118"),
            (
                "swap 0190163d-8694-739b-aea5-966c26f8ad91 is gone",
                "swap … is gone",
            ),
            ("to bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7k", "to …"),
            (
                "lnbcrt500n1p5xyzpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqf",
                "…",
            ),
            ("waited 5.0s for it, 120ms, 3 min", "waited … for it, …, …"),
            ("became 5 s", "became …"),
            ("5 swaps, 3 mines", "5 swaps, 3 mines"),
            ("http://127.0.0.1:23456/x", "http://127.0.0.1:…/x"),
            ("pid 4711 on port 8080", "pid … on port …"),
            ("fee 502 sat, fees: 12 sat", "fee … sat, fees: … sat"),
            (
                "last seen: 0 sat (103 looks, no change)",
                "last seen: 0 sat (… looks, no change)",
            ),
            ("at 2026-02-03T04:05:06.789Z: x", "at …: x"),
            ("1767225599 and 1767225599123", "… and …"),
            ("9f3c2b1a77e0:1", "…:…"),
            (".swaprig/runs/41/a.log", ".swaprig/runs/…/a.log"),
            (
                "TIMEOUT_TOO_NEAR_FOR_THE_PAYMENT_2",
                "TIMEOUT_TOO_NEAR_FOR_THE_PAYMENT_2",
            ),
            ("", ""),
            ("grüße – 3 µs", "grüße – …"),
            // After what was cut out already, and after other characters of several bytes.
            ("9f3c2b1a77e0 7 é8 →9", "… 7 é8 →9"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }
}
