//! A chat template as transformers compiles it: Jinja2 with trim_blocks, lstrip_blocks and loop
//! controls, the `{% generation %}` block, raise_exception, strftime_now and its own `tojson`.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat;

use crate::python;

/// Around what a `{% generation %}` block wrote. Two code points that are no characters
/// (Unicode 23.7), so that no text holds them.
pub const OPEN: char = '\u{fdd0}';
pub const CLOSE: char = '\u{fdd1}';

const NAME: &str = "chat_template";
/// Of a conversation, in instructions or 64 bytes that are made (Environment::set_fuel): ends a template
/// that loops for ever, and one that would fill the memory.
const FUEL_MAX: u64 = 5_000_000;
const MARK_ANSWERS: &str = "__longlora_mark_answers";

pub struct Template {
    environment: Environment<'static>,
    special_tokens: Vec<(String, Value)>,
    pub has_generation: bool,
}

/// `{% generation %}` as a call block, which minijinja knows: the body is a scope of its own in both.
fn with_call_blocks(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let mut found = false;
    let mut rest = source;
    while let Some(begin) = rest.find("{%") {
        out.push_str(&rest[..begin]);
        rest = &rest[begin..];
        let Some(end) = rest.find("%}") else { break };
        let inner = &rest[2..end];
        let sign = |c: Option<char>| c.filter(|c| "-+".contains(*c)).map(String::from);
        let left = sign(inner.chars().next()).unwrap_or_default();
        let right = sign(inner.chars().last()).unwrap_or_default();
        match inner.trim_matches(['-', '+']).trim() {
            "generation" => {
                found = true;
                out.push_str(&format!("{{%{left} call __longlora_generation() {right}%}}"));
            }
            "endgeneration" => out.push_str(&format!("{{%{left} endcall {right}%}}")),
            _ => out.push_str(&rest[..end + 2]),
        }
        rest = &rest[end + 2..];
    }
    out.push_str(rest);
    (out, found)
}

fn generation(state: &mut State, kwargs: Kwargs) -> Result<String, Error> {
    let body = kwargs.get::<Value>("caller")?.call(state, &[])?;
    let body = python::str(state, &body)?;
    let marked = state.lookup(MARK_ANSWERS).is_some_and(|value| value.is_true());
    Ok(if marked { format!("{OPEN}{body}{CLOSE}") } else { body })
}

fn raise_exception(state: &State, message: Value) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, python::str(state, &message)?))
}

/// As many spaces as `count` asks for.
fn spaces(state: &State, count: Value) -> Result<String, Error> {
    let count = usize::try_from(count)?;
    python::pay(state, count)?;
    Ok(" ".repeat(count))
}

fn to_json(state: &State, value: Value, ensure_ascii: Option<bool>, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        None => None,
        Some(value) if value.is_none() => None,
        Some(value) if value.kind() == ValueKind::String => Some(python::str(state, &value)?),
        Some(value) => Some(spaces(state, value)?),
    };
    let separators = match kwargs.get::<Option<Value>>("separators")? {
        Some(value) if !value.is_none() => {
            value.try_iter()?.map(|v| python::str(state, &v)).collect::<Result<Vec<_>, Error>>()?
        }
        _ => vec![if indent.is_none() { ", " } else { "," }.to_owned(), ": ".to_owned()],
    };
    let [item_separator, key_separator] = <[String; 2]>::try_from(separators)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "tojson: separators are two strings"))?;
    let style = python::JsonStyle {
        indent,
        item_separator,
        key_separator,
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: match kwargs.get::<Option<bool>>("ensure_ascii")? {
            Some(given) => given,
            None => ensure_ascii.unwrap_or(false),
        },
    };
    kwargs.assert_all_used()?;
    let mut writer = python::JsonWriter { state, style: &style, out: String::new() };
    writer.write(&value, 0)?;
    Ok(Value::from_safe_string(writer.out))
}

/// Methods of Python's objects. strip() without arguments is ours: Rust knows fewer white spaces.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let (Some(text), [], "strip" | "lstrip" | "rstrip") = (value.as_str(), args, name) {
        let left = if name == "rstrip" { text } else { text.trim_start_matches(python::is_space) };
        let both = if name == "lstrip" { left } else { left.trim_end_matches(python::is_space) };
        return Ok(Value::from(both));
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

fn trim(state: &State, value: Value, characters: Option<String>) -> Result<String, Error> {
    let text = python::str(state, &value)?;
    Ok(match characters {
        Some(set) => text.trim_matches(|c| set.contains(c)).to_owned(),
        None => text.trim_matches(python::is_space).to_owned(),
    })
}

fn dict(first: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    if let Some(map) = first {
        for key in map.try_iter()? {
            let item = map.get_item(&key)?;
            pairs.push((key, item));
        }
    }
    for name in kwargs.args() {
        pairs.push((Value::from(name), kwargs.get(name)?));
    }
    Ok(Value::from_pairs(pairs))
}

impl Template {
    /// `special_tokens`: bos_token and its kind. `now`: seconds since 1970 that strftime_now prints.
    pub fn new(
        source: &str,
        special_tokens: Vec<(String, Value)>,
        now: i64,
    ) -> Result<Template, String> {
        // Jinja2's lexer knows one kind of line break.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let (source, has_generation) = with_call_blocks(&source);
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(describe)?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL_MAX));
        environment.set_unknown_method_callback(method);
        environment.set_formatter(|out, state, value| {
            out.write_str(&python::str(state, value)?).map_err(Error::from)
        });
        environment.add_filter("tojson", to_json);
        environment.add_filter("string", |state: &State, value: Value| python::str(state, &value));
        environment.add_filter("trim", trim);
        // In Python a string and a dict are sequences too.
        environment.add_test("sequence", |value: Value| {
            matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
        });
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", move |format: String| python::strftime(&format, now));
        environment.add_function("dict", dict);
        environment.add_function("__longlora_generation", generation);
        environment.add_template_owned(NAME, source).map_err(describe)?;
        Ok(Template { environment, special_tokens, has_generation })
    }

    /// The text of `messages`. `mark`: what generation blocks wrote lies between OPEN and CLOSE.
    pub fn render(
        &self,
        messages: &[Value],
        tools: &Value,
        documents: &Value,
        add_generation_prompt: bool,
        mark: bool,
    ) -> Result<String, String> {
        let mut context = self.special_tokens.clone();
        for (name, value) in [
            ("messages", Value::from(messages.to_vec())),
            ("tools", tools.clone()),
            ("documents", documents.clone()),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            (MARK_ANSWERS, Value::from(mark)),
        ] {
            context.push((name.to_owned(), value));
        }
        let context = Value::from_pairs(context);
        let template = self.environment.get_template(NAME).map_err(describe)?;
        template.render(context).map_err(describe)
    }
}

/// What went wrong and in which line of the template.
fn describe(error: Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("the chat template, line {line}: {detail}"),
        None => format!("the chat template: {detail}"),
    }
}
