//! How an app looks on the vault's pages.

use crate::domain::AppConfig;

/// Name, logo and colours of one app, safe to be written into a page.
#[derive(Debug, Clone)]
pub(crate) struct Brand {
    /// Name for people. Escaped by the template.
    pub(crate) name: String,
    /// A `data:` picture of a known type.
    pub(crate) logo: Option<String>,
    /// Accent on light pages, `#rrggbb`.
    pub(crate) accent: String,
    /// Accent on dark pages, `#rrggbb`.
    pub(crate) accent_dark: String,
}

/// What a page without an app is coloured with.
const ACCENT: Rgb = Rgb([0x2f, 0x5b, 0xd0]);
/// Cards on light pages, and text on buttons there.
const LIGHT: Rgb = Rgb([0xff, 0xff, 0xff]);
/// Cards on dark pages.
const DARK: Rgb = Rgb([0x1c, 0x1f, 0x26]);
/// What text needs (WCAG 2.2 §1.4.3 says 4.5), with room for backgrounds that are a little off.
const CONTRAST: f64 = 5.2;
/// Longest logo, in characters.
pub(crate) const MAX_LOGO: usize = 64 * 1024;
/// Pictures that a logo may be. As the source of an `<img>`, an SVG runs no script and loads nothing.
pub(crate) const LOGO_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/webp", "image/svg+xml"];

impl Brand {
    /// The vault's own.
    pub(crate) fn vault() -> Self {
        Self::new("Connected accounts".to_owned(), None, None)
    }

    /// An app's.
    pub(crate) fn of(app: &AppConfig) -> Self {
        let name = app.page.display_name.clone().unwrap_or_else(|| app.name.clone());
        Self::new(name, app.page.logo.as_deref(), app.page.color.as_deref())
    }

    fn new(name: String, logo: Option<&str>, color: Option<&str>) -> Self {
        let color = color.and_then(Rgb::parse).unwrap_or(ACCENT);
        Self {
            name,
            // What is stored was checked when it was set, and is checked again where it counts.
            logo: logo.filter(|logo| is_logo(logo)).map(str::to_owned),
            accent: color.readable_on(LIGHT, Rgb([0; 3])).to_text(),
            accent_dark: color.readable_on(DARK, LIGHT).to_text(),
        }
    }
}

/// Whether a text is a colour, `#rrggbb`.
pub(crate) fn is_color(text: &str) -> bool {
    Rgb::parse(text).is_some()
}

/// Whether a text is a picture that may be shown: `data:TYPE;base64,…` of a known type and bounded size.
pub(crate) fn is_logo(text: &str) -> bool {
    let Some((kind, data)) = text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) else {
        return false;
    };
    text.len() <= MAX_LOGO
        && LOGO_TYPES.contains(&kind)
        && !data.is_empty()
        && data.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rgb([u8; 3]);

impl Rgb {
    fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix('#').filter(|hex| hex.len() == 6)?;
        let mut bytes = [0; 3];
        hex::decode_to_slice(hex, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    fn to_text(self) -> String {
        format!("#{}", hex::encode(self.0))
    }

    /// Relative luminance (WCAG 2.2), 0 to 1.
    fn luminance(self) -> f64 {
        let channel = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let [r, g, b] = self.0.map(channel);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    /// Contrast ratio (WCAG 2.2), 1 to 21.
    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// This colour, moved towards `towards` until it can be read on `background`.
    fn readable_on(self, background: Self, towards: Self) -> Self {
        let mixed = |step: u16| {
            let mut out = [0; 3];
            for (out, (from, to)) in out.iter_mut().zip(self.0.into_iter().zip(towards.0)) {
                let value = (u16::from(from) * (32 - step) + u16::from(to) * step) / 32;
                *out = u8::try_from(value).unwrap_or(u8::MAX);
            }
            Self(out)
        };
        (0..=32).map(mixed).find(|color| color.contrast(background) >= CONTRAST).unwrap_or(towards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accent_can_be_read_in_both_themes() {
        for color in ["#ffffff", "#000000", "#ffff00", "#0000ff", "#777777", "#ff0000", "#2f5bd0", "#00ff00"]
        {
            let brand = Brand::new("x".into(), None, Some(color));
            assert!(Rgb::parse(&brand.accent).unwrap().contrast(LIGHT) >= 4.5, "{color}");
            assert!(Rgb::parse(&brand.accent_dark).unwrap().contrast(DARK) >= 4.5, "{color}");
        }
    }

    #[test]
    fn what_is_no_colour_or_picture_never_reaches_a_page() {
        for bad in ["red", "#fff", "#12345g", "#1234567", "#000;}*{x:url(//evil)}", ""] {
            assert!(!is_color(bad));
            assert_eq!(Brand::new("x".into(), None, Some(bad)).accent, Brand::vault().accent);
        }
        assert!(is_logo("data:image/png;base64,aGk="));
        for bad in [
            "",
            "https://evil.example/x.png",
            "data:text/html;base64,aGk=",
            "data:image/png,aGk=",
            "data:image/png;base64,",
            "data:image/png;base64,a\"b",
        ] {
            assert!(!is_logo(bad), "{bad}");
        }
        assert!(!is_logo(&format!("data:image/png;base64,{}", "A".repeat(MAX_LOGO))));
    }
}
