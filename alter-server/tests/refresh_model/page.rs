//! The page that shows what is found.

use std::{
    env, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

static WRITING: Mutex<()> = Mutex::new(());

/// Compares one part of the page with what was found, or writes it with `ALTER_UPDATE_DOCS=1`.
pub(crate) fn compare(part: &str, found: &str) {
    let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/refresh-model.md");
    let page = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- end of {part} -->"));
    let from = page.find(&begin).unwrap() + begin.len();
    let to = from + page[from..].find(&end).unwrap();
    let found = format!("\n{}\n\n", found.trim());
    if env::var_os("ALTER_UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{}{found}{}", &page[..from], &page[to..])).unwrap();
        return;
    }
    assert_eq!(
        &page[from..to],
        found,
        "docs/refresh-model.md is out of date: run this test with ALTER_UPDATE_DOCS=1"
    );
}
