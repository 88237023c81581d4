//! Tables as text (RFC 4180) that a spreadsheet does not take for formulas.

/// Adds a line of cells.
pub(super) fn line<'a>(out: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push('"');
        // A cell that begins like this is a formula to Excel, LibreOffice and Google Sheets, quoted or not.
        if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n'])
            || cell.trim_start().starts_with(['=', '+', '-', '@'])
        {
            out.push('\'');
        }
        for c in cell.chars() {
            if c == '"' {
                out.push('"');
            }
            out.push(c);
        }
        out.push('"');
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_ends_early() {
        let mut out = String::new();
        line(&mut out, ["a", "", "=1+1", "+1", "-1", "@x", "\t=1", " =1", "say \"hi\", now", "two\r\nlines"]);
        assert_eq!(
            out,
            "\"a\",\"\",\"'=1+1\",\"'+1\",\"'-1\",\"'@x\",\"'\t=1\",\"' =1\",\"say \"\"hi\"\", now\",\"two\r\nlines\"\r\n"
        );
    }
}
