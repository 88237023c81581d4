//! What a browser shows, as far as a test needs it: a title, elements by their ids, forms. It reads what servers render with
//! care, and is no HTML parser for what anybody may write.

use http::StatusCode;
use url::{Url, form_urlencoded};

/// A page that was loaded.
#[derive(Debug, Clone)]
pub struct Page {
    status: StatusCode,
    url: Url,
    html: String,
}

/// A form, filled in and about to be sent.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) action: Url,
    pub(super) post: bool,
    pub(super) body: String,
}

/// A tag that opens.
struct Tag<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, String)>,
    /// Where the tag begins and where what is in it begins.
    at: usize,
    inside: usize,
}

impl Tag<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str())
    }

    fn is(&self, id: &str) -> bool {
        self.get("id") == Some(id)
    }
}

impl Page {
    pub(super) fn new(status: StatusCode, url: Url, html: String) -> Self {
        Self { status, url, html }
    }

    /// The status of the answer, after redirects.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Where it came from, after redirects, with its fragment.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The body as it came.
    #[must_use]
    pub fn html(&self) -> &str {
        &self.html
    }

    /// What its first heading says; empty without one.
    #[must_use]
    pub fn title(&self) -> String {
        self.tags().find(|tag| tag.name == "h1").map(|tag| self.text(&tag)).unwrap_or_default()
    }

    /// Whether there is an element with this id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.tags().any(|tag| tag.is(id))
    }

    /// What the element with this id says, without tags, its white space collapsed.
    #[must_use]
    pub fn text_of(&self, id: &str) -> Option<String> {
        self.tags().find(|tag| tag.is(id)).map(|tag| self.text(&tag))
    }

    /// An attribute of the element with this id.
    #[must_use]
    pub fn attribute(&self, id: &str, name: &str) -> Option<String> {
        self.tags().find(|tag| tag.is(id))?.get(name).map(str::to_owned)
    }

    /// Where the link with this id leads.
    #[must_use]
    pub fn link(&self, id: &str) -> Option<Url> {
        self.url.join(&self.attribute(id, "href")?).ok()
    }

    /// What its main part says.
    pub(super) fn main(&self) -> String {
        let main = self.tags().find(|tag| tag.name == "main");
        main.map(|tag| self.text(&tag)).unwrap_or_default()
    }

    /// Where the links inside the element with this id lead.
    pub(super) fn links_in(&self, id: &str) -> Vec<Url> {
        let Some(around) = self.tags().find(|tag| tag.is(id)) else { return Vec::new() };
        let end = self.end_of(&around);
        self.tags()
            .filter(|tag| tag.name == "a" && (around.inside..end).contains(&tag.at))
            .filter_map(|tag| self.url.join(tag.get("href")?).ok())
            .collect()
    }

    /// The form that the button with this id sends, as it stands on the page, with these fields set.
    pub(super) fn form(&self, button: &str, set: &[(&str, &str)]) -> Option<Form> {
        let tags: Vec<_> = self.tags().collect();
        let pressed = tags.iter().find(|tag| tag.is(button))?;
        let form = tags
            .iter()
            .rev()
            .find(|tag| tag.name == "form" && tag.at < pressed.at && pressed.at < self.end_of(tag))?;
        let inside = |tag: &&Tag<'_>| (form.inside..self.end_of(form)).contains(&tag.at);
        let mut fields: Vec<(String, String)> = Vec::new();
        for tag in tags.iter().filter(inside) {
            let Some(name) = tag.get("name") else { continue };
            let value = match tag.name {
                "input" if matches!(tag.get("type"), Some("checkbox" | "radio")) => {
                    if tag.get("checked").is_none() {
                        continue;
                    }
                    tag.get("value").unwrap_or("on").to_owned()
                }
                "input" => tag.get("value").unwrap_or_default().to_owned(),
                "textarea" => self.text(tag),
                "select" => self.selected(tag),
                "button" if tag.at == pressed.at => tag.get("value").unwrap_or_default().to_owned(),
                _ => continue,
            };
            fields.push((name.to_owned(), value));
        }
        for (name, value) in set {
            fields.retain(|(found, _)| found != name);
            fields.push(((*name).to_owned(), (*value).to_owned()));
        }
        let action = pressed.get("formaction").or(form.get("action")).unwrap_or_default();
        Some(Form {
            action: self.url.join(action).ok()?,
            post: form.get("method").is_some_and(|method| method.eq_ignore_ascii_case("post")),
            body: form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish(),
        })
    }

    /// What is chosen in a list: the option that is selected, or the first one.
    fn selected(&self, select: &Tag<'_>) -> String {
        let end = self.end_of(select);
        let options: Vec<_> = self
            .tags()
            .filter(|tag| tag.name == "option" && (select.inside..end).contains(&tag.at))
            .collect();
        let chosen = options.iter().find(|option| option.get("selected").is_some()).or(options.first());
        chosen.and_then(|option| option.get("value")).unwrap_or_default().to_owned()
    }

    fn tags(&self) -> impl Iterator<Item = Tag<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let tag = next_tag(&self.html, at)?;
            // What is in these is no HTML.
            at = match tag.name {
                "script" | "style" => self.end_of(&tag),
                _ => tag.inside,
            };
            Some(tag)
        })
    }

    /// Where what is in the tag ends.
    fn end_of(&self, tag: &Tag<'_>) -> usize {
        let (opens, closes) = (format!("<{}", tag.name), format!("</{}", tag.name));
        let (mut depth, mut at) = (1, tag.inside);
        while let Some(next) = self.html[at..].find('<') {
            at += next;
            if self.html[at..].starts_with(&closes) {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            } else if self.html[at..].starts_with(&opens) {
                depth += 1;
            }
            at += 1;
        }
        self.html.len()
    }

    fn text(&self, tag: &Tag<'_>) -> String {
        let mut text = String::new();
        let mut rest = &self.html[tag.inside..self.end_of(tag)];
        while let Some((before, tag)) = rest.split_once('<') {
            text.push_str(before);
            // Words do not grow together over a block's end.
            text.push(' ');
            rest = tag.split_once('>').map_or("", |(_, after)| after);
        }
        text.push_str(rest);
        unescaped(&text).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The next tag that opens at or after `from`.
fn next_tag(html: &str, from: usize) -> Option<Tag<'_>> {
    let mut at = from;
    loop {
        at += html[at..].find('<')?;
        let rest = &html[at + 1..];
        if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            break;
        }
        at += 1;
    }
    let rest = &html[at + 1..];
    let name = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())];
    let mut attributes = Vec::new();
    let mut rest = &rest[name.len()..];
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() || rest.starts_with('>') {
            break;
        }
        let key =
            &rest[..rest.find(|c: char| c.is_ascii_whitespace() || "=>/".contains(c)).unwrap_or(rest.len())];
        rest = &rest[key.len()..];
        let Some(value) = rest.strip_prefix('=') else {
            // An attribute's name is never empty, or the text would be read without end.
            rest = if key.is_empty() { &rest[1..] } else { rest };
            attributes.push((key, String::new()));
            continue;
        };
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            _ => value
                .split_at(value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len())),
        };
        attributes.push((key, unescaped(value)));
        rest = after;
    }
    let inside = html.len() - rest.strip_prefix('>').unwrap_or(rest).len();
    Some(Tag { name, attributes, at, inside })
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let entity = after.split_once(';').filter(|(name, _)| name.len() <= 8);
        let known = entity.and_then(|(name, rest)| Some((character(name)?, rest)));
        match known {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(html: &str) -> Page {
        Page::new(StatusCode::OK, "https://shop.example/a/b?c#d".parse().unwrap(), html.to_owned())
    }

    #[test]
    fn elements_are_found_by_their_ids_and_texts_are_plain() {
        let page = page(
            "<!doctype html><script>if (1<2) '<h1 id=no>'</script><h1 class='x'>Bob &amp; <b>Ann</b>&#x21;</h1>\
             <p id=\"data\" data-json=\"{&#34;a&#34;:1}\" hidden>one<br>two</p><a id=go href=\"../x?y\">go</a>",
        );
        assert_eq!(page.title(), "Bob & Ann !");
        assert!(!page.has("no"));
        assert_eq!(page.text_of("data").as_deref(), Some("one two"));
        assert_eq!(page.attribute("data", "data-json").as_deref(), Some("{\"a\":1}"));
        assert_eq!(page.link("go").unwrap().as_str(), "https://shop.example/x?y");
    }

    #[test]
    fn a_button_sends_the_form_that_it_stands_in_as_the_page_filled_it() {
        let page = page(
            "<form method=post action=/first><input name=no value=no></form>\
             <form method='post' action='/second'><input type=hidden name=csrf value='a&amp;b'>\
             <input type=checkbox name=off value=1><input type=checkbox name=on checked>\
             <select name=ttl><option value=1>a<option value=2 selected>b</select>\
             <button id=yes name=what value=yes>Yes</button><button id=no formaction=/third name=what value=no>No</button></form>",
        );
        let form = page.form("yes", &[]).unwrap();
        assert_eq!((form.action.path(), form.post), ("/second", true));
        assert_eq!(form.body, "csrf=a%26b&on=on&ttl=2&what=yes");
        let form = page.form("no", &[("ttl", "9")]).unwrap();
        assert_eq!(form.action.path(), "/third");
        assert_eq!(form.body, "csrf=a%26b&on=on&what=no&ttl=9");
        assert!(page.form("nothing", &[]).is_none());
    }

    #[test]
    fn what_is_cut_off_or_nonsense_ends() {
        for html in
            ["<", "<a", "<a =", "<a ==>", "<a b=\"", "<form><button id=x", "&", "&#xffffffff;", "<h1>"]
        {
            let page = page(html);
            let _ = (page.title(), page.form("x", &[]), page.has("x"));
        }
    }
}
