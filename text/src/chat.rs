//! A conversation as the text the model sees, and which parts of it are answers.

use std::ffi::c_char;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::{ptr, thread};

use minijinja::value::{Serde, Value};
use serde_json::{Map, Value as Json};

use crate::template::{Template, CLOSE, OPEN};
use crate::{give, guard, take_back, text_of};

const TEMPLATE_BYTES_MAX: usize = 16 << 20;
const LINE_BYTES_MAX: usize = 1 << 30;
/// A template can put lists into lists as often as its fuel allows, some million times; letting go
/// of them takes a stack of that depth. Only what is touched of it takes memory.
const STACK_BYTES: usize = 1 << 30;

pub struct LongloraTemplate(Template);

#[repr(C)]
pub struct LongloraChat {
    text: *mut u8,
    text_size: usize,
    answers: *mut usize,
    num_answers: usize,
    head_size: usize,
}

/// How far the caller needs to know the answers.
const ANSWERS_REQUIRED: i32 = 2;
const ANSWERS_IF_POSSIBLE: i32 = 1;

struct Chat {
    text: String,
    answers: Vec<(usize, usize)>, // bytes [begin, end), ascending
    head_size: usize,
}

/// The example's conversation as transformers hands it to a template: keys without a value are left
/// out, and reasoning goes by each of its names (transformers 5, apply_chat_template).
fn normalized(message: &Json) -> Result<Json, String> {
    let object = message.as_object().ok_or("an entry of \"messages\" is no object")?;
    if !object.get("role").is_some_and(Json::is_string) {
        return Err("an entry of \"messages\" has no \"role\"".into());
    }
    let given: Map<String, Json> =
        object.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
    let reasoning = ["reasoning_content", "thinking", "reasoning"].iter().find_map(|k| given.get(*k));
    let Some(reasoning) = reasoning.cloned() else { return Ok(Json::Object(given)) };
    let mut aliased = Map::new();
    aliased.insert("thinking".into(), reasoning.clone());
    aliased.extend(given);
    aliased.insert("reasoning_content".into(), reasoning);
    Ok(Json::Object(aliased))
}

fn holds_marks(json: &Json) -> bool {
    match json {
        Json::String(text) => text.contains([OPEN, CLOSE]),
        Json::Array(list) => list.iter().any(holds_marks),
        Json::Object(map) => map.iter().any(|(k, v)| k.contains([OPEN, CLOSE]) || holds_marks(v)),
        _ => false,
    }
}

/// Takes the marks out of `marked`.
fn unmarked(marked: &str) -> (String, Vec<(usize, usize)>) {
    let mut text = String::with_capacity(marked.len());
    let (mut answers, mut open) = (Vec::new(), Vec::new());
    for piece in marked.split_inclusive([OPEN, CLOSE]) {
        let body = piece.trim_end_matches([OPEN, CLOSE]);
        text.push_str(body);
        if piece.ends_with(OPEN) {
            open.push(text.len());
        } else if piece.ends_with(CLOSE) {
            answers.extend(open.pop().map(|begin| (begin, text.len())));
        }
    }
    answers.sort_unstable();
    (text, answers)
}

struct Conversation<'a> {
    template: &'a Template,
    messages: Vec<Value>,
    roles: Vec<String>,
    tools: Value,
    documents: Value,
}

impl Conversation<'_> {
    fn render(&self, count: usize, prompt: bool, mark: bool) -> Result<String, String> {
        let messages = &self.messages[..count];
        self.template.render(messages, &self.tools, &self.documents, prompt, mark)
    }

    /// An answer is what the template writes for an assistant's message after the prompt for it:
    /// true only if it writes the same whatever follows, which is checked.
    fn answers_by_prefix(&self, full: &str) -> Result<Vec<(usize, usize)>, String> {
        let mut answers = Vec::new();
        for index in (0..self.roles.len()).filter(|i| self.roles[*i] == "assistant") {
            let refuse = |why: String| {
                format!(
                    "cannot tell the answer in message {} from its prompt: {why}. Add {{% generation %}} \
                     blocks to the chat template, or set dataset.train_on_prompt to true",
                    index + 1
                )
            };
            let prompt = self.render(index, true, false).map_err(refuse)?;
            let through = match index + 1 == self.roles.len() {
                true => full.to_owned(),
                false => self.render(index + 1, false, false).map_err(refuse)?,
            };
            if !full.starts_with(&through) || !through.starts_with(&prompt) {
                return Err(refuse(
                    "the chat template writes its beginning otherwise when more messages follow".into(),
                ));
            }
            answers.push((prompt.len(), through.len()));
        }
        Ok(answers)
    }

    /// Bytes that the leading system message takes, 0 when that cannot be told.
    fn system_size(&self, full: &str) -> usize {
        if self.roles.len() < 2 || self.roles[0] != "system" {
            return 0;
        }
        match self.render(1, false, false) {
            Ok(system) if full.starts_with(&system) => system.len(),
            _ => 0,
        }
    }
}

fn optional_list(example: &Json, key: &str) -> Result<Value, String> {
    match example.get(key) {
        None | Some(Json::Null) => Ok(Value::from(())),
        Some(list) if list.is_array() => Ok(Value::from(Serde(list))),
        Some(_) => Err(format!("\"{key}\" is not a list")),
    }
}

fn render(template: &Template, example: &Json, answers: i32) -> Result<Chat, String> {
    let messages = example.get("messages").and_then(Json::as_array).filter(|list| !list.is_empty());
    let messages = messages.ok_or("\"messages\" is not a list of messages")?;
    let messages = messages.iter().map(normalized).collect::<Result<Vec<Json>, String>>()?;
    let role = |m: &Json| m.get("role").and_then(Json::as_str).unwrap_or_default().to_owned();
    let conversation = Conversation {
        template,
        roles: messages.iter().map(role).collect(),
        messages: messages.iter().map(|m| Value::from(Serde(m))).collect(),
        tools: optional_list(example, "tools")?,
        documents: optional_list(example, "documents")?,
    };
    let count = messages.len();
    let marks = template.has_generation && answers >= ANSWERS_IF_POSSIBLE;
    if marks && holds_marks(example) {
        return Err("the text holds U+FDD0 or U+FDD1, which are no characters".into());
    }
    let rendered = conversation.render(count, false, marks)?;
    let (text, found) = if marks { unmarked(&rendered) } else { (rendered, Vec::new()) };
    let found = match template.has_generation || answers < ANSWERS_IF_POSSIBLE {
        true => found,
        false => match conversation.answers_by_prefix(&text) {
            Ok(list) => list,
            Err(reason) if answers == ANSWERS_REQUIRED => return Err(reason),
            Err(_) => Vec::new(),
        },
    };
    let head_size = conversation.system_size(&text);
    Ok(Chat { text, answers: found, head_size })
}

/// `render` on a stack that is large enough for whatever the template builds.
fn render_deeply(template: &Template, example: &Json, answers: i32) -> Result<Chat, String> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        match builder.spawn_scoped(scope, || render(template, example, answers)) {
            Ok(handle) => handle.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(e) => Err(format!("no thread for the chat template: {e}")),
        }
    })
}

/// # Safety
/// `source` and `special_tokens` point to their sizes; `error` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn longlora_template_new(
    source: *const u8,
    source_size: usize,
    special_tokens: *const u8,
    special_tokens_size: usize,
    now_seconds: i64,
    error: *mut *mut c_char,
) -> *mut LongloraTemplate {
    guard(error, || {
        let source = text_of(source, source_size, TEMPLATE_BYTES_MAX)?;
        let tokens = text_of(special_tokens, special_tokens_size, TEMPLATE_BYTES_MAX)?;
        let tokens: Map<String, Json> = serde_json::from_str(tokens).map_err(|e| e.to_string())?;
        let tokens = tokens.iter().map(|(k, v)| (k.clone(), Value::from(Serde(v)))).collect();
        let template = Template::new(source, tokens, now_seconds)?;
        Ok(Box::into_raw(Box::new(LongloraTemplate(template))))
    })
    .unwrap_or(ptr::null_mut())
}

/// # Safety
/// `template` comes from `longlora_template_new`, once, or is null.
#[no_mangle]
pub unsafe extern "C" fn longlora_template_free(template: *mut LongloraTemplate) {
    if !template.is_null() {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(template))));
    }
}

/// # Safety
/// `template` is alive; `example` points to `size` bytes; `chat` is writable; `error` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn longlora_template_render(
    template: *const LongloraTemplate,
    example: *const u8,
    size: usize,
    answers: i32,
    chat: *mut LongloraChat,
    error: *mut *mut c_char,
) -> bool {
    let rendered = guard(error, || {
        let line = text_of(example, size, LINE_BYTES_MAX)?;
        let example: Json = serde_json::from_str(line).map_err(|e| format!("broken JSON: {e}"))?;
        render_deeply(&(*template).0, &example, answers)
    });
    let Some(rendered) = rendered else { return false };
    let (text, text_size) = give(rendered.text.into_bytes());
    let spans: Vec<usize> = rendered.answers.iter().flat_map(|&(b, e)| [b, e]).collect();
    let (answers, size) = give(spans);
    *chat = LongloraChat {
        text,
        text_size,
        answers,
        num_answers: size / 2,
        head_size: rendered.head_size,
    };
    true
}

/// # Safety
/// `chat` was filled by `longlora_template_render` and is freed once.
#[no_mangle]
pub unsafe extern "C" fn longlora_chat_free(chat: *mut LongloraChat) {
    let chat = ptr::read(chat);
    take_back(chat.text, chat.text_size);
    take_back(chat.answers, 2 * chat.num_answers);
}
