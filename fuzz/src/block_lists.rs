//! Lists of names that the resolver's policies block: each line says what it says wherever it stands, and no line is taken for
//! two.

/// The target: a list.
pub fn run(octets: &[u8]) {
    proxima_dns::exercise_block_list(octets);
}
