//! What a request is, once more. The fuzz targets look at it as well (`fuzz/oracles/src/request.rs`).

use protocol::request::{Request, Verb};

/// The grammar once more, written another way: by taking a value apart as text from its beginning.
pub fn second_opinion(value: &[u8]) -> Option<(Vec<String>, Option<String>)> {
    let text = value.iter().map(|byte| char::from(*byte)).collect::<String>();
    let text =
        text.strip_suffix("\n\0").or(text.strip_suffix('\0')).or(text.strip_suffix('\n')).unwrap_or(&text);
    let mut words: Vec<String> =
        text.replace('\t', " ").split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let in_set = |text: &str, more: &str, max: usize| {
        (1..=max).contains(&text.chars().count())
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
    };
    let id = words
        .last()
        .and_then(|word| word.strip_prefix('#'))
        .filter(|id| in_set(id, "_-", 32))
        .map(str::to_owned);
    if id.is_some() {
        words.pop();
    }
    let number = |text: &str, max: u128| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && text
                .parse::<u128>()
                .is_ok_and(|number| number.to_string() == text && (1..=max).contains(&number))
    };
    let name = |text: &str| in_set(text, "._-", 63) && !text.starts_with(['.', '-']);
    let parts: Vec<&str> = words.iter().map(String::as_str).collect();
    let fits = value.len() <= 256
        && match parts.as_slice() {
            ["new"] | ["umount"] | ["killme"] => true,
            ["new", size] => number(size, 2_097_151),
            ["send", to] => *to != "disposable" && name(to),
            ["send", to, seq] => name(to) && number(seq, 2_147_483_647),
            _ => false,
        };
    fits.then_some((words, id))
}

/// The words of a request that was read.
pub fn words_of(request: &Request) -> (Vec<String>, Option<String>) {
    let mut words = vec![request.verb.word().to_owned()];
    match &request.verb {
        Verb::New { size } => words.extend(size.map(|size| size.mib().to_string())),
        Verb::Send { to, seq } => {
            words.push(to.to_string());
            words.extend(seq.map(|seq| seq.to_string()));
        }
        Verb::SendDisposable { seq } => words.extend(["disposable".to_owned(), seq.to_string()]),
        Verb::Umount | Verb::Killme => {}
    }
    (words, request.reqid.as_ref().map(ToString::to_string))
}
