//! The fields of a section as they were decoded, in one buffer.

/// Octets and fields for which room is kept between sections: those of nearly all heads.
const KEPT_OCTETS: usize = 4096;
const KEPT_FIELDS: usize = 64;

/// Names and values, in order. Whoever decodes a section does it once, since what follows may refer to it; what its fields
/// are good for is found out afterwards.
#[derive(Debug, Default)]
pub(crate) struct FieldList {
    octets: Vec<u8>,
    /// Where each name ends, and each value.
    ends: Vec<(usize, usize)>,
}

impl FieldList {
    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.octets.clear();
        self.octets.shrink_to(KEPT_OCTETS);
        self.ends.clear();
        self.ends.shrink_to(KEPT_FIELDS);
    }

    /// Adds one.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.octets.extend_from_slice(name);
        let name_end = self.octets.len();
        self.octets.extend_from_slice(value);
        self.ends.push((name_end, self.octets.len()));
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|&(_, value_end)| value_end));
        starts.zip(&self.ends).map(|(start, &(name_end, value_end))| {
            (&self.octets[start..name_end], &self.octets[name_end..value_end])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_out_as_they_went_in_and_large_ones_leave_no_room_behind() {
        let mut list = FieldList::default();
        for large in [b"z".repeat(3 * KEPT_OCTETS), Vec::new()] {
            let fields: [(&[u8], &[u8]); 4] =
                [(b"a", b"1"), (b"empty", b""), (b"a", b"2"), (b"large", &large)];
            fields.iter().for_each(|(name, value)| list.push(name, value));
            assert_eq!(list.iter().collect::<Vec<_>>(), fields);
            list.clear();
            assert_eq!(list.iter().count(), 0);
            assert!(list.octets.capacity() <= KEPT_OCTETS);
        }
    }
}
