//! The names of a struct's fields, asked of its own `Deserialize`.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Visitor, forward_to_deserialize_any};

/// The names of the fields that `T`, a struct, reads.
pub(crate) fn fields<T: for<'de> Deserialize<'de>>() -> Vec<&'static str> {
    match T::deserialize(Asking) {
        Err(Found(fields)) => fields.to_vec(),
        Ok(_) => panic!("{} is no struct with fields", std::any::type_name::<T>()),
    }
}

/// Has nothing to read: it answers with the fields that it is asked for, as an error.
struct Asking;

#[derive(Debug)]
struct Found(&'static [&'static str]);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Found {}

impl serde::de::Error for Found {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Asking {
    type Error = Found;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Found> {
        Err(Found(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Found> {
        Err(Found(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
