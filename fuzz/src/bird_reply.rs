//! What BIRD's control socket says: a reply is complete at one place only, however much of it is there, and what is
//! complete reads the same alone.

use proxima_bird::{parse_reply, protocols};

/// The target.
pub fn run(octets: &[u8]) {
    let Some((&cut, input)) = octets.split_first() else { return };
    let Ok(read) = parse_reply(input) else { return };
    let part = &input[..usize::from(cut).min(input.len())];
    let Some((lines, length)) = read else {
        assert!(matches!(parse_reply(part), Ok(None)));
        return;
    };
    assert!(length <= input.len() && input[length - 1] == b'\n');
    for whole in [&input[..length], part].into_iter().filter(|part| part.len() >= length) {
        assert!(matches!(parse_reply(whole), Ok(Some(again)) if again == (lines.clone(), length)));
    }
    assert!(matches!(parse_reply(&input[..length - 1]), Ok(None)));
    assert!(protocols(&lines).len() <= lines.len());
}
