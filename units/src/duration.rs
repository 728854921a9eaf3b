//! Spans of time as scenario files write them: a whole number with its unit.

use std::time::Duration;

use crate::{UnitError, grouped, split, whole};

const UNITS: &str = "`ms`, `s` or `min`";

/// Reads `"200 ms"`, `"5 s"` or `"2 min"`. A number without a unit is an error that shows the text to type.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text);
    let per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "" => {
            let suggestion = format!("{} s", text.trim());
            return Err(UnitError::MissingUnit { suggestion });
        }
        other => {
            let unit = other.to_owned();
            return Err(UnitError::UnknownUnit {
                unit,
                expected: UNITS,
            });
        }
    };
    let too_large = || UnitError::TooLarge {
        number: text.trim().to_owned(),
    };
    let millis = whole(&number, text.trim())?
        .checked_mul(per_unit)
        .ok_or_else(too_large)?;
    Ok(Duration::from_millis(millis))
}

/// The shortest text that [`parse_duration`] reads back; anything below a millisecond is cut off.
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis != 0 && millis.is_multiple_of(60_000) {
        format!("{} min", grouped(millis / 60_000))
    } else if millis.is_multiple_of(1_000) {
        format!("{} s", grouped(millis / 1_000))
    } else {
        format!("{} ms", grouped(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_carry_their_unit() {
        let cases: &[(&str, Result<u64, &str>)] = &[
            ("200 ms", Ok(200)),
            ("5 s", Ok(5_000)),
            ("5s", Ok(5_000)),
            ("2 min", Ok(120_000)),
            ("1_000 ms", Ok(1_000)),
            ("5", Err("it has no unit; write \"5 s\"")),
            (
                "5 sec",
                Err("`sec` is not a unit of it; use `ms`, `s` or `min`"),
            ),
            ("0.5 s", Err("`0.5 s` is not a whole number")),
            (
                "999999999999999999 min",
                Err("`999999999999999999 min` is too large"),
            ),
        ];
        for (text, expected) in cases {
            let got = parse_duration(text)
                .map(|d| d.as_millis() as u64)
                .map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(millis: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_duration(&text);
        }
    }
}
