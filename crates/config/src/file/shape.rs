//! How a table of the file is defined: once, for what it holds, its schema and how it is read.

/// Defines a table once: its struct, its schema and how it is read. Behind two dots are tables whose keys are in this one.
macro_rules! shape {
    ($(#[$meta:meta])* $name:ident, $title:literal, $(
        $(#[$key_meta:meta])* $key:ident: $type:ty $(= $default:expr)?,
    )* $(.. $part:ident: $part_type:ty,)*) => {
        #[derive(Clone, Debug, Default, JsonSchema)]
        $(#[$meta])*
        #[schemars(deny_unknown_fields)]
        pub(crate) struct $name {
            $(
                $(#[$key_meta])*
                #[schemars(default $(, extend("default" = $default))?)]
                pub(crate) $key: Field<$type>,
            )*
            $(
                #[schemars(flatten)]
                pub(crate) $part: $part_type,
            )*
        }

        impl Shape for $name {
            const TITLE: &'static str = $title;
            const KEYS: &'static [&'static str] = {
                const PARTS: &[&[&str]] = &[
                    &[$($crate::read::key(stringify!($key))),*],
                    $(<$part_type as Shape>::KEYS,)*
                ];
                const KEYS: [&str; $crate::file::shape::count(PARTS)] = $crate::file::shape::joined(PARTS);
                &KEYS
            };

            fn take(table: &mut Keys<'_>, report: &mut Report) -> Self {
                Self {
                    $($key: table.take($crate::read::key(stringify!($key)), report),)*
                    $($part: <$part_type as Shape>::take(table, report),)*
                }
            }

            fn spans(&self) -> Vec<(&'static str, std::ops::Range<usize>)> {
                let own = [$(($crate::read::key(stringify!($key)), self.$key.span())),*];
                let own = own.into_iter().filter_map(|(key, span)| Some((key, span?)));
                own$(.chain(self.$part.spans()))*.collect()
            }
        }

        impl Read for $name {
            fn expected() -> String {
                match Self::TITLE.starts_with('[') {
                    true => format!("a {} table", Self::TITLE),
                    false => "a table".to_owned(),
                }
            }

            fn accepts(value: &DeValue<'_>) -> bool {
                value.is_table()
            }

            fn hint(key: &str, _value: &DeValue<'_>) -> Option<String> {
                let key_of = Self::KEYS.first().copied().unwrap_or_default();
                Some(match Self::TITLE.starts_with('[') {
                    true => format!("put its keys under a header {}", Self::TITLE),
                    false => format!("write {key} = {{ {key_of} = … }}"),
                })
            }

            fn convert(_key: &'static str, value: Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
                match value.into_inner() {
                    DeValue::Table(table) => Some(Self::from_table(table, report)),
                    _ => None,
                }
            }
        }
    };
}

/// Defines how a value is read that is a word or a table.
macro_rules! either {
    ($name:ident, $expected:literal, $word:ident($of_word:ty), $table:ident($of_table:ty)) => {
        impl Read for $name {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn accepts(value: &DeValue<'_>) -> bool {
                value.is_table() || <$of_word>::accepts(value)
            }

            fn hint(key: &str, value: &DeValue<'_>) -> Option<String> {
                <$of_word as Read>::hint(key, value)
            }

            fn convert(
                key: &'static str,
                value: Spanned<DeValue<'_>>,
                report: &mut Report,
            ) -> Option<Self> {
                match value.get_ref() {
                    DeValue::Table(_) => <$of_table>::convert(key, value, report).map(Self::$table),
                    _ => <$of_word>::convert(key, value, report).map(Self::$word),
                }
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let word = generator.subschema_for::<$of_word>();
                let table = generator.subschema_for::<$of_table>();
                json_schema!({ "anyOf": [word, table] })
            }
        }
    };
}

/// How many keys there are in all.
pub(crate) const fn count(parts: &[&[&str]]) -> usize {
    let (mut all, mut part) = (0, 0);
    while part < parts.len() {
        all += parts[part].len();
        part += 1;
    }
    all
}

/// The keys of all parts, one behind the other.
pub(crate) const fn joined<const N: usize>(parts: &[&[&'static str]]) -> [&'static str; N] {
    let mut all = [""; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut key = 0;
        while key < parts[part].len() {
            all[at] = parts[part][key];
            at += 1;
            key += 1;
        }
        part += 1;
    }
    all
}

pub(super) use {either, shape};
