//! The values that settings are written in: sizes, spans of time, rates, lists, and "off".

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes. Written as an integer, or with a unit: `kB MB GB TB` count in thousands, `KiB MiB GiB TiB` in 1024s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size; write 4096, \"4MiB\" or \"10GB\"");
        let (number, unit) = split(text);
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, factor) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?;
        number.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor)).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The unit that gives the smallest number: 10GB is not 9765625KiB.
        let fits = SIZES.iter().filter(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let whole = fits.max_by_key(|(_, factor)| *factor);
        let (unit, factor) = whole.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// Bytes per second: a size and `/s`, or 0 for none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speed(pub u64);

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no speed; write \"8MiB/s\", or 0 for none");
        if text.trim() == "0" {
            return Ok(Self(0));
        }
        let size = text.trim().strip_suffix("/s").ok_or_else(wrong)?;
        size.parse::<Size>().map(|size| Self(size.0)).map_err(|_| wrong())
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            bytes => write!(f, "{}/s", Size(bytes)),
        }
    }
}

/// A span of time. Written as an integer of seconds, or with a unit: `ms s m h d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no span of time; write 30, \"30s\", \"15m\", \"24h\" or \"7d\"");
        let (number, unit) = split(text);
        let unit = if unit.is_empty() { "s" } else { unit };
        let (_, factor) = SPANS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let millis = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor)).ok_or_else(wrong)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let whole = SPANS.iter().find(|(_, factor)| {
            let factor = u128::from(*factor);
            millis >= factor && millis.is_multiple_of(factor)
        });
        let (unit, factor) = whole.copied().unwrap_or(("ms", 1));
        write!(f, "{}{unit}", millis / u128::from(factor))
    }
}

/// Requests per second with a burst, or none: `"100/s burst 500"`, `"100/s"` (a burst of as many), `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// No limit.
    Off,
    /// At most so many.
    Limit {
        /// Requests per second in the long run.
        per_second: u32,
        /// Requests that may come at once.
        burst: u32,
    },
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no rate; write \"100/s burst 500\", \"100/s\" or \"off\"");
        if text == "off" {
            return Ok(Self::Off);
        }
        let (rate, burst) =
            text.split_once(" burst ").map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let per_second: u32 =
            rate.trim().strip_suffix("/s").and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
        let burst = burst.map_or(Ok(per_second), |n| n.trim().parse().map_err(|_| wrong()))?;
        if per_second == 0 || burst == 0 { Err(wrong()) } else { Ok(Self::Limit { per_second, burst }) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Limit { per_second, burst } => write!(f, "{per_second}/s burst {burst}"),
        }
    }
}

/// Digits, and what follows them.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// An integer in the type's smallest unit, or text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or a text with a unit")]
enum Written {
    Number(u64),
    Text(String),
}

macro_rules! written {
    ($name:ident, $number:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                match Written::deserialize(from)? {
                    Written::Number(number) => $number(number),
                    Written::Text(text) => text.parse(),
                }
                .map_err(de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    };
}

written!(Size, |number| Ok(Self(number)));
written!(Speed, |number: u64| number.to_string().parse());
written!(Span, |number| Ok(Self::seconds(number)));
written!(Rate, |number: u64| format!("{number}/s").parse());

/// One value or a list of them, both as text; text may hold commas, as environment variables do.
pub(super) mod list {
    use super::*;

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts")]
    enum Texts {
        One(String),
        Many(Vec<String>),
    }

    pub(in super::super) fn deserialize<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: fmt::Display>,
    {
        let texts = match Texts::deserialize(from)? {
            Texts::One(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
            Texts::Many(texts) => texts,
        };
        let parse =
            |text: &String| text.parse().map_err(|cause| de::Error::custom(format!("{text:?}: {cause}")));
        texts.iter().filter(|text| !text.is_empty()).map(parse).collect()
    }

    pub(in super::super) fn serialize<S: Serializer, T: fmt::Display>(
        list: &[T],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(T::to_string))
    }
}

macro_rules! optional {
    ($(#[$doc:meta])* $name:ident, $none:literal) => {
        $(#[$doc])*
        pub(super) mod $name {
            use super::*;

            pub(in super::super) fn deserialize<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
            where
                D: Deserializer<'de>,
                T: FromStr<Err: fmt::Display>,
            {
                let text = String::deserialize(from)?;
                if text == $none {
                    return Ok(None);
                }
                text.parse().map(Some).map_err(|cause| de::Error::custom(format!("{text:?}: {cause}")))
            }

            pub(in super::super) fn serialize<S: Serializer, T: ToString>(
                value: &Option<T>,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                to.serialize_str(&value.as_ref().map_or_else(|| $none.to_owned(), T::to_string))
            }
        }
    };
}

optional! {
    /// A value, or the empty text for none. TOML has no null, and the example must name every setting.
    unset, ""
}
optional! {
    /// A value, or `off`.
    off, "off"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_spans_and_rates_read_back_what_they_print() {
        for text in ["0B", "1B", "1000B", "1KiB", "4MiB", "10GB", "2GiB", "1500kB", "3TiB"] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.to_string().parse::<Size>().unwrap(), size, "{text}");
        }
        assert_eq!("10GB".parse::<Size>().unwrap().to_string(), "10GB");
        assert_eq!("10 gb".parse::<Size>().unwrap(), Size(10_000_000_000));
        assert_eq!("4MiB".parse::<Size>().unwrap(), Size(4 << 20));
        for text in ["", "MiB", "-1", "1.5GB", "10 parsecs", "99999999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for (text, seconds) in [("30s", 30), ("30", 30), ("15m", 900), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(text.parse::<Span>().unwrap(), Span::seconds(seconds));
        }
        assert_eq!(Span::seconds(86_400).to_string(), "1d");
        assert_eq!("1500ms".parse::<Span>().unwrap().to_string(), "1500ms");
        assert!("1y".parse::<Span>().is_err());
        assert_eq!("100/s".parse::<Rate>().unwrap(), Rate::Limit { per_second: 100, burst: 100 });
        assert_eq!("100/s burst 500".parse::<Rate>().unwrap().to_string(), "100/s burst 500");
        assert_eq!("off".parse::<Rate>().unwrap(), Rate::Off);
        for text in ["0", "1B/s", "8MiB/s", "10MB/s"] {
            assert_eq!(text.parse::<Speed>().unwrap().to_string(), text);
        }
        assert_eq!("8 MiB/s".parse::<Speed>().unwrap(), Speed(8 << 20));
        for text in ["", "8", "8MiB", "/s", "8MiB/m"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
        for text in ["", "0/s", "100", "1/s burst 0", "1/s burst x"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
