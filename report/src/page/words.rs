//! How amounts, times and hashes are written on the page.

/// A narrow space that no line breaks at, between groups of three digits.
const GROUP: char = '\u{202f}';

/// `50 000`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * GROUP.len_utf8());
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(GROUP);
        }
        text.push(digit);
    }
    text
}

/// `+50 000`, `−269`, `0`.
pub(super) fn change(from: u64, to: u64) -> String {
    match to.cmp(&from) {
        std::cmp::Ordering::Greater => format!("+{}", grouped(to - from)),
        std::cmp::Ordering::Less => format!("−{}", grouped(from - to)),
        std::cmp::Ordering::Equal => "0".to_owned(),
    }
}

/// Millisatoshi as satoshi: `50 500 sat`, `1.001 sat`.
pub(super) fn msat(msat: u64) -> String {
    match msat % 1000 {
        0 => format!("{} sat", grouped(msat / 1000)),
        rest => format!("{}.{rest:03} sat", grouped(msat / 1000)),
    }
}

/// A moment of the run, from microseconds: `1.532 s`, `12:01.532`.
pub(super) fn moment(t: u64) -> String {
    let (ms, seconds) = (t / 1000 % 1000, t / 1_000_000);
    if seconds < 600 {
        format!("{seconds}.{ms:03}")
    } else {
        format!("{}:{:02}.{ms:03}", seconds / 60, seconds % 60)
    }
}

/// A duration, from microseconds: `850 µs`, `12 ms`, `4.02 s`, `3 min 5 s`.
pub(super) fn took(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..120_000_000 => format!("{}.{:02} s", us / 1_000_000, us / 10_000 % 100),
        _ => {
            let seconds = us / 1_000_000;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

/// The beginning of a hash or an id that is too long to be read: `4c94b4e6…`.
pub(super) fn short(id: &str) -> String {
    match id.char_indices().nth(8) {
        Some((end, _)) if id.chars().nth(12).is_some() => format!("{}…", &id[..end]),
        _ => id.to_owned(),
    }
}

/// A word of a command line, in quotes where a shell would take it for something else.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@+=,#%".contains(c);
    match !word.is_empty() && !word.starts_with('#') && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A text in which long hexadecimal numbers are cut to their ends. Of two that are alike, such as what was told and what is
/// right, the place where they part stays.
pub(super) fn readable(text: &str) -> String {
    let is_long = |word: &&str| word.len() > 40 && word.chars().all(|c| c.is_ascii_hexdigit());
    let words = || text.split(|c: char| !c.is_ascii_alphanumeric());
    let long: Vec<&str> = words().filter(is_long).collect();
    let parting = match long[..] {
        [a, b] if a != b => a.bytes().zip(b.bytes()).position(|(a, b)| a != b),
        _ => None,
    };
    let mut readable = text.to_owned();
    for word in long {
        let end = word.len() - 8;
        let short = match parting {
            Some(at) if (16..end - 16).contains(&at) => {
                format!("{}…{}…{}", &word[..8], &word[at - 6..at + 10], &word[end..])
            }
            _ => format!("{}…{}", &word[..16], &word[end..]),
        };
        readable = readable.replace(word, &short);
    }
    readable
}

/// How long something may take, from milliseconds, to the hundredth of a second: `2 s`, `500 ms`, `58.71 s`.
pub(super) fn within(ms: u64) -> String {
    let hundredths = (ms + 5) / 10;
    match (hundredths / 100, hundredths % 100) {
        (0, 0) => format!("{ms} ms"),
        (0, part) => format!("{} ms", part * 10),
        (seconds, 0) => format!("{seconds} s"),
        (seconds, part) => format!("{seconds}.{part:02} s"),
    }
}

/// `1 block`, `3 blocks`.
pub(super) fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ if one.ends_with('x') || one.ends_with('s') => format!("{} {one}es", grouped(number)),
        _ => format!("{} {one}s", grouped(number)),
    }
}

/// The day since 1970 of a date, the other way round.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(50_000), "50\u{202f}000");
        assert_eq!(grouped(2_100_000_000), "2\u{202f}100\u{202f}000\u{202f}000");
        assert_eq!(change(500, 500), "0");
        assert_eq!(change(1500, 500), "−1\u{202f}000");
        assert_eq!(msat(1_001), "1.001 sat");
    }

    #[test]
    fn times_are_written_as_people_say_them() {
        assert_eq!(moment(1_532_017), "1.532");
        assert_eq!(moment(721_532_017), "12:01.532");
        assert_eq!(took(850), "850 µs");
        assert_eq!(took(12_900), "12 ms");
        assert_eq!(took(4_029_000), "4.02 s");
        assert_eq!(took(185_000_000), "3 min 5 s");
        assert_eq!(days(2000, 2, 29) * 86_400, 951_782_400);
        assert_eq!(days(2026, 11, 21) * 86_400, 1_795_219_200);
    }

    #[test]
    fn words_of_commands_are_quoted_where_they_must_be() {
        assert_eq!(
            quoted("runs/9/claim#lbtc/record.jsonl"),
            "runs/9/claim#lbtc/record.jsonl"
        );
        assert_eq!(quoted("my runs"), "'my runs'");
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
        assert_eq!([quoted(""), quoted("#")], ["''", "'#'"]);
    }

    #[test]
    fn of_long_numbers_stays_what_differs() {
        let (head, tail) = ("ab".repeat(20), "cd".repeat(20));
        let said = format!("told `{head}1122{tail}`, not `{head}3344{tail}`");
        let expected =
            "told `abababab…ababab1122cdcdcd…cdcdcdcd`, not `abababab…ababab3344cdcdcd…cdcdcdcd`";
        assert_eq!(readable(&said), expected);
        assert_eq!(
            readable(&format!("no {head}{tail}")),
            "no abababababababab…cdcdcdcd"
        );
        assert_eq!(readable("é is no number"), "é is no number");
        assert_eq!(
            [within(1999), within(58_713), within(499), within(3)],
            ["2 s", "58.71 s", "500 ms", "3 ms"]
        );
    }

    #[test]
    fn ids_are_cut_and_words_are_not() {
        assert_eq!(short("4c94b4e6-ca46-89e4"), "4c94b4e6…");
        assert_eq!(short("funding-tx"), "funding-tx");
        assert_eq!(count(1, "block"), "1 block");
        assert_eq!(count(2, "box"), "2 boxes");
    }
}
