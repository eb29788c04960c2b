//! Lines like those of `ls -l`, which clients show to people as they are.

use rustix::fs::{FileType, Stat};

/// Half a year in seconds: beyond it, the year is shown in place of the time.
const RECENT: i64 = 365 * 24 * 60 * 60 / 2;

/// The line for a file, with times in UTC, and owners as numbers where they
/// have no name.
pub(super) fn longname(
    name: &[u8],
    stat: &Stat,
    now: i64,
    (user, group): (Option<&[u8]>, Option<&[u8]>),
) -> Vec<u8> {
    let shown = |name: Option<&[u8]>, id: u32| match name {
        Some(name) => String::from_utf8_lossy(name).into_owned(),
        None => id.to_string(),
    };
    let (user, group) = (shown(user, stat.st_uid), shown(group, stat.st_gid));
    let mut line = format!(
        "{} {:>4} {:<8} {:<8} {:>8} {} ",
        mode(stat.st_mode),
        stat.st_nlink,
        user,
        group,
        stat.st_size,
        date(stat.st_mtime, now),
    )
    .into_bytes();
    line.extend_from_slice(name);
    line
}

fn mode(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::RegularFile => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        _ => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let may = |bit: u32| mode >> shift & bit != 0;
        text.push(if may(4) { 'r' } else { '-' });
        text.push(if may(2) { 'w' } else { '-' });
        text.push(match (mode & special != 0, may(1)) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A time as `ls` writes it: the time of day for recent ones, else the year.
fn date(time: i64, now: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    const DAY: i64 = 24 * 60 * 60;
    let (year, month, day) = civil(time.div_euclid(DAY));
    let month = MONTHS.get(month).unwrap_or(&"???");
    if (now - RECENT..=now + DAY).contains(&time) {
        let minutes = time.rem_euclid(DAY) / 60;
        format!("{month} {day:>2} {:02}:{:02}", minutes / 60, minutes % 60)
    } else {
        format!("{month} {day:>2}  {year:>4}")
    }
}

/// Year, month from 0 and day from 1, so many days after 1970-01-01 in the
/// Gregorian calendar.
fn civil(days: i64) -> (i64, usize, i64) {
    /// Days of 400 years.
    const ERA: i64 = 146_097;
    // In years that begin in March, the day that leap years add is the last.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let january_on = i64::from(month >= 10);
    let month = usize::try_from((month + 2) % 12).unwrap_or(0);
    (era * 400 + year + january_on, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_calendars_do() {
        for (days, expected) in [
            (0, (1970, 0, 1)),
            (-1, (1969, 11, 31)),
            (11_016, (2000, 1, 29)),
            (11_017, (2000, 2, 1)),
            (19_782, (2024, 1, 29)),
            (20_453, (2025, 11, 31)),
            (47_540, (2100, 1, 28)),
            (47_541, (2100, 2, 1)),
        ] {
            assert_eq!(civil(days), expected, "{days}");
        }
    }

    #[test]
    fn modes_read_like_those_of_ls() {
        for (raw, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o120_777, "lrwxrwxrwx"),
            (0o104_755, "-rwsr-xr-x"),
            (0o102_644, "-rw-r-Sr--"),
            (0o041_777, "drwxrwxrwt"),
        ] {
            assert_eq!(mode(raw), text);
        }
    }

    #[test]
    fn old_files_show_their_year_and_new_ones_the_time() {
        let now = 1_700_000_000; // 2023-11-14 22:13:20
        assert_eq!(date(now, now), "Nov 14 22:13");
        assert_eq!(date(0, now), "Jan  1  1970");
    }
}
