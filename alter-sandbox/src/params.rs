//! Parameters of a query or a form body, read the way RFC 6749 §3.1 and §3.2 want them.

use url::form_urlencoded;

/// Name and value pairs in which no name occurs twice. A parameter without a value counts as absent.
pub(crate) struct Params(Vec<(String, String)>);

/// A parameter occurs more than once.
pub(crate) struct Repeated(pub(crate) String);

impl Params {
    /// Reads `application/x-www-form-urlencoded` bytes.
    pub(crate) fn parse(encoded: &[u8]) -> Result<Self, Repeated> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(encoded) {
            if pairs.iter().any(|(seen, _)| *seen == name) {
                return Err(Repeated(shown(&name)));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        pairs.retain(|(_, value)| !value.is_empty());
        Ok(Self(pairs))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(seen, _)| seen == name).map(|(_, value)| value.as_str())
    }

    /// The first parameter that is not one of `known`.
    pub(crate) fn unknown(&self, known: &[&str]) -> Option<String> {
        self.0.iter().find(|(name, _)| !known.contains(&name.as_str())).map(|(name, _)| shown(name))
    }
}

/// Text of a caller, fit to be put into an error message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}
