//! Times as FAT keeps them: from 1980 to 2107, in steps of two seconds, without a time zone (here: UTC).

const SECONDS_PER_DAY: u64 = 86_400;
/// 1980-01-01 00:00:00 UTC.
const FIRST_S: u64 = 315_532_800;
/// 2107-12-31 23:59:58 UTC.
const LAST_S: u64 = 4_354_819_198;
/// Days from 0000-03-01 to 1970-01-01, in the Gregorian calendar.
const EPOCH_DAYS: u64 = 719_468;
const DAYS_PER_400_YEARS: u64 = 146_097;

/// A time, as the two little-endian fields of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) time: [u8; 2],
    pub(crate) date: [u8; 2],
}

impl Default for Stamp {
    /// The first moment that FAT knows. A volume label has no other: it needs none, and it would tell dom0's
    /// clock.
    fn default() -> Self {
        Self::from_unix(0)
    }
}

impl Stamp {
    /// The time of so many seconds since 1970, rounded down to two seconds; the nearest that FAT knows, where
    /// it does not know this one.
    pub(crate) fn from_unix(seconds: i64) -> Self {
        let seconds = u64::try_from(seconds).unwrap_or(0).clamp(FIRST_S, LAST_S);
        let (year, month, day) = calendar(seconds / SECONDS_PER_DAY);
        let of_day = seconds % SECONDS_PER_DAY;
        let date = (year - 1980) << 9 | month << 5 | day;
        let time = (of_day / 3600) << 11 | (of_day / 60 % 60) << 5 | (of_day % 60 / 2);
        Self { time: low_bytes(time), date: low_bytes(date) }
    }
}

/// Year, month and day of a number of days since 1970, by H. Hinnant's `civil_from_days`: years begin in
/// March there, so that a leap day is the last of its year.
fn calendar(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let of_era = days % DAYS_PER_400_YEARS;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = days / DAYS_PER_400_YEARS * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The low 16 bits as they lie on the volume; dates and times need no more.
fn low_bytes(value: u64) -> [u8; 2] {
    let [low, high, ..] = value.to_le_bytes();
    [low, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Year, month, day, hour, minute, second.
    fn fields(seconds: i64) -> [u16; 6] {
        let stamp = Stamp::from_unix(seconds);
        let (time, date) = (u16::from_le_bytes(stamp.time), u16::from_le_bytes(stamp.date));
        [1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2]
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(fields(951_782_400), [2000, 2, 29, 0, 0, 0]);
        assert_eq!(fields(951_868_799), [2000, 2, 29, 23, 59, 58]);
        assert_eq!(fields(1_234_567_890), [2009, 2, 13, 23, 31, 30]);
        assert_eq!(fields(1_709_251_199), [2024, 2, 29, 23, 59, 58]);
        assert_eq!(fields(4_107_542_400), [2100, 3, 1, 0, 0, 0]);
        assert_eq!(fields(4_107_542_399), [2100, 2, 28, 23, 59, 58]);
    }

    #[test]
    fn l19_times_outside_1980_to_2107_become_the_nearest_inside() {
        let first = [1980, 1, 1, 0, 0, 0];
        let last = [2107, 12, 31, 23, 59, 58];
        for seconds in [i64::MIN, -1, 0, 315_532_799, 315_532_800, 315_532_801] {
            assert_eq!(fields(seconds), first, "{seconds}");
        }
        assert_eq!(fields(315_532_802), [1980, 1, 1, 0, 0, 2]);
        assert_eq!(fields(4_354_819_197), [2107, 12, 31, 23, 59, 56]);
        for seconds in [4_354_819_198, 4_354_819_199, 4_354_819_200, i64::MAX] {
            assert_eq!(fields(seconds), last, "{seconds}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before_it() {
        let mut before = fields(315_532_800);
        for day in 1..46_751 {
            let now = fields(315_532_800 + day * 86_400);
            let [year, month, date, ..] = before;
            let [next_year, next_month, next_date, ..] = now;
            let same_month = (next_year, next_month, next_date) == (year, month, date + 1);
            let same_year = (next_year, next_month, next_date) == (year, month + 1, 1);
            let new_year = (next_year, next_month, next_date, month, date) == (year + 1, 1, 1, 12, 31);
            assert!(same_month || (same_year && date >= 28) || new_year, "{before:?} {now:?}");
            before = now;
        }
        assert_eq!(before, [2107, 12, 31, 0, 0, 0]);
    }
}
