//! What Python prints: chat templates are written for Jinja2, whose output is str() of Python's
//! objects, and for transformers' `tojson`, which is json.dumps(ensure_ascii=False).

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// Lists in lists, which a template can nest without end; Python has such a limit, too.
const DEPTH_MAX: usize = 200;
/// What the template engine charges fuel for.
const BYTES_PER_FUEL: u64 = 64;

/// repr(float): the shortest digits that read back the same, with an exponent from 1e16 up and
/// below 1e-4.
pub fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number == 0.0 || (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map(float).unwrap_or_else(|_| value.to_string())
}

/// Pays for `bytes` of text that a template makes, before they are made: what a list holds may be
/// far more than the template has made so far.
pub fn pay(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(1 + bytes as u64 / BYTES_PER_FUEL)
}

fn check_depth(depth: usize) -> Result<(), Error> {
    if depth <= DEPTH_MAX {
        return Ok(());
    }
    let message = format!("a value is nested more than {DEPTH_MAX} deep");
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// str(value).
pub fn str(state: &State, value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            pay(state, text.len())?;
            Ok(text.to_owned())
        }
        _ => {
            let mut out = String::new();
            repr(state, value, 0, &mut out)?;
            Ok(out)
        }
    }
}

/// repr(value).
fn repr(state: &State, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let is_tuple = value.is_tuple();
            out.push(if is_tuple { '(' } else { '[' });
            for (i, item) in value.try_iter()?.enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                repr(state, &item, depth + 1, out)?;
            }
            if is_tuple && value.len() == Some(1) {
                out.push(',');
            }
            out.push(if is_tuple { ')' } else { ']' });
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                repr(state, &key, depth + 1, out)?;
                out.push_str(": ");
                repr(state, &value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        _ => {
            let text = scalar(value);
            pay(state, text.len())?;
            out.push_str(&text);
        }
    }
    // An empty list costs, too.
    pay(state, 0)
}

/// repr of a value that holds no others.
fn scalar(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => "Undefined".into(),
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number => number(value),
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        _ => value.to_string(),
    }
}

/// Arguments of json.dumps.
pub struct JsonStyle {
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
    pub sort_keys: bool,
    pub ensure_ascii: bool,
}

fn json_string(text: &str, ensure_ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ensure_ascii && (c as u32) >= 0x7f && c != '\x7f') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Writes json.dumps(value) to the end of `out`.
pub struct JsonWriter<'a> {
    pub state: &'a State<'a, 'a>,
    pub style: &'a JsonStyle,
    pub out: String,
}

impl JsonWriter<'_> {
    pub fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        pay(self.state, value.as_str().map_or(0, str::len))?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                let text = number(value);
                self.out.push_str(match text.as_str() {
                    "nan" => "NaN",
                    "inf" => "Infinity",
                    "-inf" => "-Infinity",
                    finite => finite,
                });
            }
            ValueKind::String => {
                json_string(value.as_str().unwrap_or_default(), self.style.ensure_ascii, &mut self.out)
            }
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.object(value, depth)?,
            kind => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("tojson: a value of kind {kind} has no JSON"),
                ))
            }
        }
        Ok(())
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in value.try_iter()? {
            self.begin_item(empty, depth)?;
            empty = false;
            self.write(&item, depth + 1)?;
        }
        self.end(empty, depth, ']')
    }

    fn object(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('{');
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.style.sort_keys {
            keys.sort();
        }
        for (i, key) in keys.iter().enumerate() {
            self.begin_item(i == 0, depth)?;
            let name = match key.kind() {
                ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                ValueKind::Bool | ValueKind::None => scalar(key).to_lowercase(),
                _ => str(self.state, key)?,
            };
            json_string(&name, self.style.ensure_ascii, &mut self.out);
            self.out.push_str(&self.style.key_separator);
            self.write(&value.get_item(key)?, depth + 1)?;
        }
        self.end(keys.is_empty(), depth, '}')
    }

    fn begin_item(&mut self, first: bool, depth: usize) -> Result<(), Error> {
        if !first {
            self.out.push_str(&self.style.item_separator);
        }
        self.line(depth + 1)
    }

    fn end(&mut self, empty: bool, depth: usize, close: char) -> Result<(), Error> {
        if !empty {
            self.line(depth)?;
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        let Some(indent) = &self.style.indent else { return Ok(()) };
        pay(self.state, depth * indent.len())?;
        self.out.push('\n');
        self.out.push_str(&indent.repeat(depth));
        Ok(())
    }
}

/// What str.strip() takes off: Unicode's white space and the four separators of ASCII.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

const MONTHS: [&str; 12] = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// datetime.strftime(format) of a moment in UTC, in the C locale; an unknown directive stays as it is.
pub fn strftime(format: &str, seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from days since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * from_march + 2) / 153;
    let day = from_march - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let month_name = MONTHS[(month - 1) as usize];
    let day_name = DAYS[(days + 4).rem_euclid(7) as usize];
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&format!("{:02}", year.rem_euclid(100))),
            Some('m') => out.push_str(&format!("{month:02}")),
            Some('d') => out.push_str(&format!("{day:02}")),
            Some('e') => out.push_str(&format!("{day:2}")),
            Some('B') => out.push_str(month_name),
            Some('b') => out.push_str(&month_name[..3]),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(&day_name[..3]),
            Some('H') => out.push_str(&format!("{hour:02}")),
            Some('I') => out.push_str(&format!("{:02}", (hour + 11) % 12 + 1)),
            Some('M') => out.push_str(&format!("{minute:02}")),
            Some('S') => out.push_str(&format!("{:02}", second % 60)),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('-') => match rest.next() {
                Some('d') => out.push_str(&day.to_string()),
                Some('m') => out.push_str(&month.to_string()),
                Some(other) => out.push_str(&format!("%-{other}")),
                None => out.push_str("%-"),
            },
            Some('%') => out.push('%'),
            Some(other) => {
                out.push('%');
                out.push(other);
            }
            None => out.push('%'),
        }
    }
    out
}
