//! Moments as calendars tell them, in UTC.

/// Civil time from seconds since 1970, as ISO 8601 and XML Schema write it: `2026-02-03T04:05:06`.
pub fn date_time(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let rest = seconds % 86_400;
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// The same from milliseconds, for people: `2026-02-03 04:05:06 UTC`.
pub fn utc(unix_ms: u64) -> String {
    format!("{} UTC", date_time(unix_ms / 1000).replace('T', " "))
}

/// Year, month and day of a day since 1970, after Howard Hinnant's `civil_from_days`.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_as_calendars_do() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_767_225_599, "2025-12-31T23:59:59"),
            (1_772_323_200, "2026-03-01T00:00:00"),
        ] {
            assert_eq!(date_time(seconds), expected);
        }
        assert_eq!(utc(1_795_298_024_905), "2026-11-21 21:53:44 UTC");
    }
}
