//! Text in drawings: how wide it will be, how to shorten it, how to escape it.

/// Text cut to fit `room` pixels, with an ellipsis where something was cut.
pub fn shorten(content: &str, size: f64, room: f64) -> String {
    if width(content, size) <= room {
        return content.to_owned();
    }
    let mut kept = String::new();
    let mut used = character_width('…') * size;
    for character in content.chars() {
        used += character_width(character) * size;
        if used > room {
            break;
        }
        kept.push(character);
    }
    kept.truncate(kept.trim_end().len());
    kept.push('…');
    kept
}

/// At most so many characters, the last an ellipsis where something was cut.
pub fn first(content: &str, most: usize) -> String {
    match content.char_indices().nth(most) {
        None => content.to_owned(),
        Some(_) => content.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// An estimate in pixels, a little on the large side: the reader's font is not known here.
pub fn width(content: &str, size: f64) -> f64 {
    content.chars().map(character_width).sum::<f64>() * size
}

/// Escaped for element content and for quoted attributes alike.
pub fn escape_into(out: &mut String, content: &str) {
    for character in content.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
}

/// In units of the font size; classes of widths as they are in common sans-serif fonts.
fn character_width(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | '\'' | '|' | '.' | ',' | ':' | ';' | '!' | 'I' => 0.3,
        'f' | 't' | 'r' | ' ' | '(' | ')' | '[' | ']' | '/' | '-' | '·' => 0.38,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' => 0.9,
        '0'..='9' | '_' | '+' | '=' | '<' | '>' => 0.6,
        'A'..='Z' => 0.7,
        _ if character.is_ascii() => 0.57,
        // Han, kana, hangul, full-width forms and emoji take a whole square.
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' => 1.0,
        '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f000}'..='\u{3fffd}' => 1.2,
        // Combining marks and joiners stand on their neighbour.
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0.0,
        _ => 0.62,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_left_alone_and_long_text_is_cut_to_fit() {
        assert_eq!(shorten("class a", 12.0, 100.0), "class a");
        let cut = shorten(&"a very long class name ".repeat(50), 12.0, 100.0);
        assert!(cut.ends_with('…'));
        assert!(width(&cut, 12.0) <= 100.0, "{cut}");
        assert_eq!(shorten("anything", 12.0, 0.0), "…");
        assert!(width(&shorten("数据集的类别名称非常长", 12.0, 60.0), 12.0) <= 60.0);
    }

    #[test]
    fn markup_is_escaped() {
        let mut out = String::new();
        escape_into(&mut out, r#"<a href='x' & "y">"#);
        assert_eq!(out, "&lt;a href=&#39;x&#39; &amp; &quot;y&quot;&gt;");
    }
}
