//! The notation of scripts in Core's vectors: numbers, `0x` raw bytes, `'text'`, and opcode names.

use std::collections::HashMap;
use std::sync::LazyLock;

use bitcoin::opcodes::Opcode;
use bitcoin::script::Builder;

static NAMES: LazyLock<HashMap<String, u8>> = LazyLock::new(|| {
    (0x61..=0xba)
        .chain([0x50])
        .flat_map(|op: u8| {
            let name = match op {
                0xb1 => "OP_CHECKLOCKTIMEVERIFY".to_owned(),
                0xb2 => "OP_CHECKSEQUENCEVERIFY".to_owned(),
                _ => Opcode::from(op).to_string(),
            };
            let short = name.trim_start_matches("OP_").to_owned();
            [(name, op), (short, op)]
        })
        .collect()
});

pub(crate) fn parse_script(text: &str) -> Vec<u8> {
    let mut script = Vec::new();
    for word in text.split_whitespace() {
        if let Ok(number) = word.parse::<i64>() {
            script.extend(Builder::new().push_int(number).into_bytes());
        } else if let Some(hex) = word.strip_prefix("0x") {
            script.extend(unhex(hex));
        } else if let Some(text) = word.strip_prefix('\'') {
            let text = text.strip_suffix('\'').expect("a closing quote");
            let bytes = <&bitcoin::script::PushBytes>::try_from(text.as_bytes());
            script.extend(
                Builder::new()
                    .push_slice(bytes.expect("short enough"))
                    .into_bytes(),
            );
        } else {
            script.push(
                *NAMES
                    .get(word)
                    .unwrap_or_else(|| panic!("unknown word {word:?}")),
            );
        }
    }
    script
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex {text}");
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex"))
        .collect()
}
